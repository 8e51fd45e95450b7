"""The prompt styles through the command: embeddings and pictures against the goldens of tests/goldens/prompt, what must
not change, and what is said about a prompt."""
import json
import pathlib
import unittest

from harness import GOLDENS, MODEL, TINY, Case, png_pixels, png_text, read_safetensors, relative_l2, run, write_safetensors

PROMPTS = GOLDENS.parent / "prompt"
INDEX = json.loads((PROMPTS / "index.json").read_text())
EMBEDDINGS = PROMPTS / "embeddings"
SEED = ["--seed", "3"]


class Traced(Case):
    def trace(self, *args):
        trace = self.folder / "trace.safetensors"
        model = [] if "--model" in args else ["--model", MODEL]
        done = run("generate", *model, "--trace", trace, "--out-dir", self.out, "--quiet", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return read_safetensors(trace)


class Goldens(Traced):
    def test_every_case(self):
        self.assertGreater(len(INDEX["cases"]), 15)
        for case in INDEX["cases"]:
            with self.subTest(case["name"]):
                found = self.trace(*[EMBEDDINGS if a == "EMBEDDINGS" else a for a in case["args"]])
                for name, value in read_safetensors(PROMPTS / case["expected"]).items():
                    bound = INDEX["bounds"]["latents" if name.startswith("latents") else "prompt_embeds"]
                    self.assertLessEqual(relative_l2(found[name], value), bound, f"{case['name']}: {name}")

    def test_another_weight_is_seen(self):
        case = next(c for c in INDEX["cases"] if c["name"] == "a1111_weights")
        args = [a.replace(":1.3", ":1.301") for a in case["args"]]
        self.assertNotEqual(args, case["args"])
        expected = read_safetensors(PROMPTS / case["expected"])["prompt_embeds"]
        self.assertGreater(relative_l2(self.trace(*args)["prompt_embeds"], expected), INDEX["bounds"]["prompt_embeds"])


class Sameness(Traced):
    def latents(self, *args):
        found = self.trace(*TINY, *SEED, *args)
        return {name: value[1].tobytes() for name, value in found.items()}

    def test_weight_1_is_plain(self):
        """Every style gives the same bits for a text without marks, with --embedding too."""
        texts = ["a red balloon, it's 42!", "--negative-prompt", "fog and rain"]
        plain = self.latents(*texts)
        for style in ("comfy", "a1111"):
            for marks in (texts, ["(a red balloon:1), it's 42!", *texts[1:]]):
                self.assertEqual(self.latents(*marks, "--prompt-style", style), plain, style)
            self.assertEqual(self.latents(*texts, "--prompt-style", style, "--embedding", EMBEDDINGS), plain, style)
        self.assertEqual(self.latents(*texts, "--prompt-style", "plain", "--clip-skip", "1"), plain)

    def test_batches_threads_and_prompt_files_change_nothing(self):
        prompt = "a [cat|(dog:1.3)] AND the sea:0.5"
        args = [*TINY, *SEED, "--prompt-style", "a1111", "--num-images-per-prompt", "3"]
        one = [p.read_bytes() for p in self.generate(prompt, *args)]
        self.assertEqual(len(set(one)), 3)
        for name, more in (("b1", ["--batch-size", "1"]), ("b2", ["--batch-size", "2", "--threads", "3"])):
            self.out = self.folder / name
            self.assertEqual([p.read_bytes() for p in self.generate(prompt, *args, *more)], one, name)
        prompts = self.folder / "prompts.txt"
        prompts.write_text("a (dog:1.4) embedding:none\n" + prompt + "\n")
        self.out = self.folder / "file"
        self.assertEqual([p.read_bytes() for p in self.generate("--prompt-file", prompts, *args)][3:], one)

    def test_wildcards_follow_the_seed(self):
        pictures = set()
        for seed in range(8):
            args = [*TINY, "--seed", str(seed), "--prompt-style", "comfy"]
            shown = json.loads(run("inspect", MODEL, "--prompt", "a {cat|boat}", "--prompt-style", "comfy", "--seed",
                                   str(seed), "--json").stdout)["prompt"]
            self.assertIn(shown["expanded"], ("a cat", "a boat"))
            self.out = self.folder / f"w{seed}"
            chosen = self.generate("a {cat|boat}", *args)[0]
            written = self.generate(shown["expanded"], *args)[0]
            self.assertEqual(png_pixels(chosen), png_pixels(written))
            pictures.add(shown["expanded"])
        self.assertEqual(len(pictures), 2)


class Metadata(Case):
    def test_pictures_are_made_again(self):
        args = ["--prompt-style", "a1111", "--clip-skip", "2", "--embedding", EMBEDDINGS, *TINY, *SEED]
        picture = self.generate("a {(cat:1.2)|bad} [dog|boat]", *args)[0]
        text = png_text(picture)
        told = json.loads(text["easel"])
        self.assertEqual((told["prompt_style"], told["clip_skip"]), ("a1111", 2))
        self.assertIn("Clip skip: 2, Prompt style: a1111", text["parameters"])
        self.out = self.folder / "again"
        self.assertEqual(self.generate("--from-image", picture)[0].read_bytes(), picture.read_bytes())
        plain = self.generate("a cat", *TINY, *SEED)[0]
        self.assertNotIn("prompt_style", png_text(plain)["easel"])


class Inspect(Case):
    def inspect(self, *args):
        done = run("inspect", MODEL, *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_json(self):
        shown = json.loads(self.inspect("--prompt", "a (cat:1.3) [dog:boat:0.5] AND the sea:0.5", "--prompt-style", "a1111",
                                        "--steps", "8", "--negative-prompt", "fog BREAK rain", "--json"))
        self.assertEqual((shown["style"], shown["steps"], shown["chunk_tokens"], shown["condition_tokens"]),
                         ("a1111", 8, 77, 154))
        first, second = shown["prompt"]["conditionings"]
        self.assertEqual((first["weight"], second["weight"]), (1, 0.5))
        self.assertEqual([e["from_step"] for e in first["schedule"]], [0, 5])
        self.assertEqual([e["text"] for e in first["schedule"]], ["a (cat:1.3) dog", "a (cat:1.3) boat"])
        tokens = first["schedule"][0]["chunks"][0]
        self.assertEqual(tokens[0]["text"], "a")
        self.assertEqual((tokens[1]["text"], tokens[1]["weight"]), ("cat", 1.3))
        negative = shown["negative_prompt"]["conditionings"]
        self.assertEqual(len(negative[0]["schedule"][0]["chunks"]), 2)

    def test_text(self):
        shown = self.inspect("--prompt", "a ((cat)) embedding:bad embedding:bda", "--prompt-style", "comfy", "--embedding",
                             EMBEDDINGS)
        for words in ("conditioning 1 of 1", "chunk 1 of 1: 4 of 75 tokens", "reads as", "1.21", "vector 1 of bad",
                      "left out: embedding:bda"):
            self.assertIn(words, shown)
        long = self.inspect("--prompt", "balloon " * 200)
        self.assertIn("cut: ", long)
        self.assertIn("75 of 75 tokens", long)


class BadInput(Case):
    def test_options(self):
        for option, value, words in (("--prompt-style", "a111", ["comfy", "a1111"]), ("--clip-skip", "0", []),
                                     ("--clip-skip", "99", ["layers"])):
            self.refused(2, option, *words, args=["a boat", *TINY, *SEED, option, value])
        done = run("inspect", MODEL, "--prompt-style", "comfy")
        self.check_refusal(done, 2, ["--prompt-style", "--prompt"])

    def test_nesting(self):
        for style in ("comfy", "a1111"):
            self.refused(2, "nested", args=["(" * 300 + "a" + ")" * 300, *TINY, *SEED, "--prompt-style", style])

    def test_lengths_without_a_common_multiple(self):
        self.refused(2, "chunks", args=["a BREAK " * 12 + "b", "--negative-prompt", "a BREAK " * 10 + "b", *TINY, *SEED,
                                        "--prompt-style", "a1111"])

    def test_embeddings(self):
        args = ["a boat", *TINY, *SEED, "--prompt-style", "comfy", "--embedding"]
        self.refused(1, "--embedding", args=[*args, self.folder / "none.safetensors"])
        self.refused(1, "wide.safetensors", "[1,", args=[*args, EMBEDDINGS / "wide.safetensors"])
        pickle = self.folder / "x.pt"
        pickle.write_bytes(b"\x80\x02}")
        self.refused(1, "x.pt", args=[*args, pickle])
        other = self.folder / "x.txt"
        other.write_bytes(b"\x80\x02}")
        self.refused(1, "x.txt", ".safetensors", args=[*args, other])
        two = self.folder / "two.safetensors"
        write_safetensors(two, {"a": ("F32", [1], bytes(4)), "b": ("F32", [1], bytes(4))})
        self.refused(1, "two.safetensors", "emb_params", args=[*args, two])
        nan = self.folder / "nan.safetensors"
        write_safetensors(nan, {"emb_params": ("F32", [1, 32], b"\xff" * 128)})
        self.refused(1, "nan.safetensors", "finite", args=[*args, nan])

    def test_checkpoints_of_embeddings(self):
        """The files of the web UI and of diffusers hold the same vectors as the safetensors file."""
        states = []
        for file in ("embeddings/bad.safetensors", "pickles/bad.pt", "pickles/bad.bin"):
            trace = self.folder / "trace.safetensors"
            done = run("generate", "a boat embedding:bad", *TINY, *SEED, "--prompt-style", "comfy", "--embedding",
                       PROMPTS / file, "--trace", trace, "--out-dir", self.out, "--quiet")
            self.assertEqual((done.returncode, done.stderr), (0, ""), file)
            states.append(read_safetensors(trace)["prompt_embeds"][1].tobytes())
        self.assertEqual(states[1:], states[:1] * 2)
        folder = self.folder / "all"
        folder.mkdir()
        (folder / "new.pt").write_bytes((PROMPTS / "pickles" / "bad.pt").read_bytes())
        done = run("generate", "a boat embedding:newt", *TINY, *SEED, "--prompt-style", "comfy", "--embedding", folder,
                   "--out-dir", self.out, "--quiet")
        self.assertIn("did you mean new?", done.stderr)

    def test_unknown_names_are_left_out_with_a_warning(self):
        done = run("generate", "a boat embedding:bda", *TINY, *SEED, "--prompt-style", "comfy", "--embedding", EMBEDDINGS,
                   "--out-dir", self.out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in ("embedding:bda", "bad", "style/oil"):
            self.assertIn(word, done.stderr)
        done = run("generate", "a boat embedding:wide", *TINY, *SEED, "--prompt-style", "comfy", "--embedding", EMBEDDINGS,
                   "--out-dir", self.out)
        self.assertIn("width", done.stderr)


if __name__ == "__main__":
    unittest.main()
