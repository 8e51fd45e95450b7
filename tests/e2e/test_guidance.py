"""Perturbed attention, FreeU and guidance by two prompts through the command: against the goldens of
tests/goldens/guidance, what must not change, memory, and bad input."""
import json
import sys

import unittest

from harness import GOLDENS, MODEL, TINY, Case, read_safetensors, relative_l2, run

FOLDER = GOLDENS.parent / "guidance"
CASES = json.loads((FOLDER / "index.json").read_text())["cases"]
BOUND = json.loads((GOLDENS / "index.json").read_text())["bounds"]["latents"]
SEED = ["--seed", "3"]
PAG = ["--pag-scale", "3"]
FREEU = ["--freeu", "b1=1.5,b2=1.6,s1=0.9,s2=0.2"]
TWO = ["--middle-prompt", "a cat", "--middle-guidance-scale", "1.5"]


class Traced(Case):
    def trace(self, *args):
        trace = self.folder / "trace.safetensors"
        done = run("generate", "--trace", trace, "--out-dir", self.out, "--quiet", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return read_safetensors(trace)

    def latents(self, *args):
        found = self.trace("a red balloon", "--negative-prompt", "fog", *TINY, *SEED, *args)
        return {name: value[1].tobytes() for name, value in found.items() if name.startswith("latents")}


class Goldens(Traced):
    def run_case(self, case, *more):
        found = self.trace(*case["args"], "--model", GOLDENS / case["model"], "--initial-latents",
                           GOLDENS / case["initial_latents"], *more)
        expected = read_safetensors(FOLDER / f"{case['name']}.safetensors")
        return relative_l2(found[f"latents.{case['iterations'] - 1}"], expected["latents"])

    def test_every_case(self):
        self.assertGreaterEqual(len(CASES), 11)
        for case in CASES:
            with self.subTest(case["name"]):
                self.assertLess(case["jitter"], BOUND / 10)
                error = self.run_case(case)
                print(f"{case['name']:16} latents {error:.1e}", file=sys.stderr)
                self.assertLessEqual(error, BOUND)

    def test_a_part_in_a_hundred_is_seen(self):
        for name, option in (("pag", ["--pag-scale", "3.03"]), ("freeu", ["--freeu", "b1=1.515,b2=1.6,s1=0.9,s2=0.2"]),
                             ("two-prompts", ["--middle-guidance-scale", "1.515"])):
            case = next(c for c in CASES if c["name"] == name)
            args = list(case["args"])
            at = args.index(option[0])
            changed = {**case, "args": args[:at] + option + args[at + 2:]}
            self.assertGreater(self.run_case(changed), BOUND, name)


class Sameness(Traced):
    def test_off_is_plain(self):
        plain = self.latents()
        self.assertEqual(self.latents("--pag-scale", "0"), plain)
        self.assertNotEqual(self.latents(*PAG), plain)
        self.assertNotEqual(self.latents(*FREEU), plain)
        self.assertNotEqual(self.latents(*TWO), plain)
        # outside of its interval nothing is perturbed
        alone = self.latents("--guidance-scale", "1")
        self.assertEqual(self.latents(*PAG, "--guidance-start", "1", "--guidance-end", "1"), alone)

    def test_batches_change_nothing(self):
        args = ["--num-images-per-prompt", "3", *PAG, *TWO]
        self.assertEqual(self.latents(*args, "--batch-size", "2"), self.latents(*args))
        self.assertEqual(self.latents(*args, "--threads", "1"), self.latents(*args))

    def test_old_names_of_layers(self):
        self.assertEqual(self.latents(*PAG, "--pag-applied-layers", "up_blocks.1"),
                         self.latents(*PAG, "--pag-applied-layers", "up.block_1"))

    def test_branches_one_by_one(self):
        """With a limit that splits guidance, the pictures stay and the limit holds; AND and all others too."""
        for name, args in (("AND", ["--prompt-style", "a1111", "--prompt", "a cat AND a dog AND the sea:0.5"]),
                           ("PAG", ["--prompt", "a cat", *PAG, *TWO, *FREEU]),
                           ("interval", ["--prompt", "a cat", "--guidance-start", "0.2", "--guidance-end", "0.6"])):
            with self.subTest(name):
                base = ["--model", MODEL, "--negative-prompt", "fog", *SEED, "--steps", "3", "--width", "256", "--height",
                        "256", "--dtype", "fp32", *args]
                free = self.trace(*base)
                refused = run("generate", *base, "--out-dir", self.out, "--memory-limit", "1MiB")
                self.assertEqual(refused.returncode, 1, refused.stderr)
                least = float(refused.stderr.split("needs ")[1].split(" GB")[0]) * 1e9
                limited = self.trace(*base, "--memory-limit", str(int(least * 1.01)))
                self.assertLess(relative_l2(limited["latents.2"], free["latents.2"]), 1e-5)
                done = run("generate", *base, "--out-dir", self.out, "--json", "--quiet", "--memory-limit",
                           str(int(least * 1.01)))
                self.assertLessEqual(json.loads(done.stdout)["peak_memory_bytes"], least * 1.01)


class BadInput(Case):
    def test_options(self):
        for args, words in (
                (["--pag-scale", "3", "--pag-applied-layers", "middle"], ["--pag-applied-layers", "middle"]),
                (["--pag-scale", "3", "--pag-applied-layers", "mid,,up"], ["--pag-applied-layers"]),
                (["--pag-scale", "-1"], ["--pag-scale"]),
                (["--pag-adaptive-scale", "0.1"], ["--pag-adaptive-scale", "--pag-scale"]),
                (["--freeu", "b3=1"], ["--freeu", "b3"]),
                (["--freeu", "b1"], ["--freeu"]),
                (["--freeu", "b1=x"], ["--freeu b1", "x"]),
                (["--freeu", "b1=1e9"], ["--freeu"]),
                (["--middle-prompt", "a cat"], ["--middle-prompt", "--middle-guidance-scale"]),
                (["--middle-guidance-scale", "2"], ["--middle-prompt", "--middle-guidance-scale"]),
                (["--pag-scale", "3", "--prompt-style", "a1111", "--prompt", "a AND b"], ["--pag-scale", "AND"])):
            with self.subTest(args):
                prompt = [] if "--prompt" in args else ["a boat"]
                self.refused(2, *words, args=[*prompt, *TINY, *SEED, *args])


if __name__ == "__main__":
    unittest.main()
