"""Pictures as prompts: every case of tests/goldens/ip_adapter against diffusers, and the command around them."""
import json
import shutil
import struct
import sys
import unittest

from harness import (GOLDENS, MODEL, Case, edit_safetensors, png_pixels, png_text, read_safetensors, relative_l2, run,
                     write_safetensors)
from test_jobs import model_with

ROOT = GOLDENS.parent
HERE = ROOT / "ip_adapter"
INDEX = json.loads((HERE / "index.json").read_text())
BOUNDS = INDEX["bounds"]
PICTURE, LARGE = ROOT / "jobs" / "picture.png", ROOT / "jobs" / "large.png"
PLAIN, PLUS = HERE / "plain.safetensors", HERE / "plus.safetensors"
FAST = ["--model", MODEL, "--steps", "2", "--seed", "1", "--dtype", "fp32", "--quiet", "--width", "40", "--height", "32"]


def place(text):
    """The paths of a golden's argument."""
    return ",".join(str(ROOT / part[2:]) if part.startswith("@@") else str(HERE / part[1:]) if part.startswith("@")
                    else part for part in text.split(","))


class Goldens(Case):
    def trace(self, case, *extra):
        path, model = self.folder / f"{case['name']}.safetensors", ROOT / case["model"]
        if case["channels"] != 4:
            model = model_with(self.folder / "model", case["channels"])
        done = run("generate", *[place(a) for a in case["args"]], "--model", model, "--trace", path,
                   "--out-dir", self.out, "--quiet", *extra)
        self.assertEqual(done.returncode, 0, f"{case['name']}: {done.stderr}")
        return read_safetensors(path)

    def errors(self, case, found):
        expected = read_safetensors(HERE / f"case_{case['name']}.safetensors")
        self.assertIn(f"latents.{case['iterations'] - 1}", expected)
        self.assertNotIn(f"latents.{case['iterations']}", found)
        self.assertEqual({k for k in found if "ip_hidden_states" in k}, {k for k in expected if "ip_hidden" in k})
        return {k: (relative_l2(found[k], expected[k]), BOUNDS["latents" if k[0] == "l" else "prompt_embeds"])
                for k in expected}

    def test_every_case(self):
        self.assertGreater(len(INDEX["cases"]), 15)
        for case in INDEX["cases"]:
            with self.subTest(case["name"]):
                errors = self.errors(case, self.trace(case))
                print(f"{case['name']:22}", "  ".join(f"{k} {v:.1e}" for k, (v, _) in sorted(errors.items())),
                      file=sys.stderr)
                for name, (error, bound) in errors.items():
                    self.assertLessEqual(error, bound, f"{case['name']}: {name}")

    def test_how_it_runs_changes_no_bit(self):
        case = next(c for c in INDEX["cases"] if c["name"] == "plain_half")
        plain = self.trace(case)
        for extra in (["--batch-size", "1"], ["--threads", "3"], ["--offload"]):
            with self.subTest(extra[0]):
                self.assertEqual(self.trace(case, *extra), plain)

    def test_broken_weights_are_seen(self):
        """The comparison can fail: one matrix 2% off, of the adapter and of the encoder, breaks a bound."""
        case = next(c for c in INDEX["cases"] if c["name"] == "plus")

        def scale(path, end):
            def edit(header, data):
                name = next(n for n in header if n.endswith(end))
                begin, stop = header[name]["data_offsets"]
                values = struct.unpack(f"<{(stop - begin) // 2}e", data[begin:stop])
                data[begin:stop] = struct.pack(f"<{len(values)}e", *(v * 1.02 for v in values))
                return header, data

            edit_safetensors(path, edit)

        for part, end in (("adapter", "1.to_v_ip.weight"), ("encoder", "layers.1.mlp.fc2.weight")):
            with self.subTest(part):
                folder = self.folder / part
                shutil.copytree(HERE / "image_encoder", folder / "image_encoder")
                shutil.copy(PLUS, folder)
                scale(folder / "plus.safetensors" if part == "adapter" else
                      folder / "image_encoder" / "model.safetensors", end)
                broken = {**case, "args": [str(folder / "plus.safetensors") if a == "@plus.safetensors" else a
                                           for a in case["args"]]}
                errors = self.errors(case, self.trace(broken))
                self.assertTrue(any(error > bound for error, bound in errors.values()), errors)


class Command(Case):
    def latents(self, *args, model=MODEL, name="t"):
        path = self.folder / f"{name}.safetensors"
        self.generate("a red balloon", *FAST, *args, "--trace", path)
        trace = read_safetensors(path)
        return trace[max((k for k in trace if k.startswith("latents.")), key=lambda k: int(k[8:]))]

    def test_scale_0_is_as_without(self):
        without = self.latents()
        shown = ["--ip-adapter-image", PICTURE]
        self.assertEqual(self.latents("--ip-adapter", f"{PLAIN}:0", *shown), without)
        self.assertEqual(self.latents("--ip-adapter", f"{PLUS}", *shown, "--ip-adapter-blocks", "mid=0"), without)
        self.assertNotEqual(self.latents("--ip-adapter", PLAIN, *shown), without)

    def test_part_of_the_steps(self):
        without = self.latents()
        prompted = ["--ip-adapter", PLAIN, "--ip-adapter-image", PICTURE]
        always = self.latents(*prompted)
        self.assertEqual(self.latents(*prompted, "--ip-adapter-start", "0", "--ip-adapter-end", "1"), always)
        some = self.latents(*prompted, "--ip-adapter-end", "0.6")
        self.assertGreater(relative_l2(some, without), 1e-3)
        self.assertGreater(relative_l2(some, always), 1e-3)
        none = self.latents(*prompted, "--ip-adapter-start", "1")
        self.assertLess(relative_l2(none, without), 1e-5)

    def test_blocks_name_layers_as_diffusers_does(self):
        prompted = ["--ip-adapter", f"{PLAIN}:0.5", "--ip-adapter-image", PICTURE]
        everywhere = self.latents(*prompted)
        self.assertEqual(self.latents(*prompted, "--ip-adapter-blocks", "down=1,mid=1,up=1"), everywhere)
        self.assertEqual(self.latents(*prompted, "--ip-adapter-blocks", "down_blocks=1,mid=1,up=3,up.block_1=1"),
                         everywhere, "the most exact name counts")
        self.assertNotEqual(self.latents(*prompted, "--ip-adapter-blocks", "down=1,mid=1"), everywhere)

    def test_with_everything_else(self):
        prompted = ["--ip-adapter", f"{PLAIN}:0.6", "--ip-adapter-image", PICTURE]
        for more in (["--hires-scale", "1.5"], ["--init-image", PICTURE, "--mask", ROOT / "jobs" / "mask.png"],
                     ["--pag-scale", "2", "--freeu", "b1=1.4"], ["--middle-prompt", "hills", "--middle-guidance-scale", "2"],
                     ["--prompt-style", "a1111", "--negative-prompt", "blurry", "--guidance-end", "0.5"]):
            with self.subTest(more[0]):
                args = [a for a in FAST if more[0] != "--init-image" or a not in ("--width", "40", "--height", "32")]
                out = self.folder / more[0].strip("-")
                def pictures(*extra):
                    done = run("generate", "a red balloon", *args, "--out-dir", out, *more, *extra)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    return png_pixels(done.stdout.strip())
                self.assertNotEqual(pictures(*prompted), pictures())

    def test_the_text_in_a_picture_makes_it_again(self):
        shutil.copy(PICTURE, self.folder / "a,b.png")
        (first,) = self.generate("a red balloon", *FAST, "--ip-adapter", f"{PLAIN}:0.7", "--ip-adapter-image",
                                 f"{self.folder}/a,b.png", "--ip-adapter", PLUS, "--ip-adapter-image",
                                 f"{LARGE},{PICTURE}", "--ip-adapter-blocks", "down=1,up=0.5", "--ip-adapter-end", "0.8",
                                 "--image-encoder", HERE / "image_encoder")
        text = json.loads(png_text(first)["easel"])
        self.assertEqual(text["ip_adapters"], [f"{PLAIN}:0.7", f"{PLUS}:1"])
        self.assertEqual(text["ip_adapter_images"], [f"{self.folder}/a,b.png", f"{LARGE},{PICTURE}"])
        self.assertEqual(len(text["ip_adapter_hashes"]), 5)
        (again,) = self.generate("--from-image", first, "--quiet")
        self.assertEqual(png_pixels(again), png_pixels(first))
        self.assertEqual(json.loads(png_text(again)["easel"]), text)
        (other,) = self.generate("--from-image", first, "--quiet", "--ip-adapter", PLAIN, "--ip-adapter-image", PICTURE)
        self.assertNotEqual(png_pixels(other), png_pixels(first))
        shutil.copy(LARGE, self.folder / "a,b.png")
        changed = run("generate", "--from-image", first, "--quiet", "--out-dir", self.out)
        self.assertIn("not what it was", changed.stderr)
        (self.folder / "a,b.png").unlink()
        gone = run("generate", "--from-image", first, "--quiet", "--out-dir", self.out)
        self.check_refusal(gone, 1, ["which is not there", "--ip-adapter-image"])

    def test_resuming_and_prompt_files(self):
        prompts = self.folder / "prompts.txt"
        prompts.write_text("a red balloon\na cat\n")
        args = ["--prompt-file", prompts, *FAST, "--ip-adapter", PLAIN, "--ip-adapter-image"]
        first = self.generate(*args, PICTURE)
        self.assertEqual(self.generate(*args, PICTURE, "--resume"), first)
        self.assertFalse(set(self.generate(*args, LARGE, "--resume")) & set(first))

    def test_a_wrong_file_is_named(self):
        image = ["--ip-adapter-image", PICTURE]
        xl, lora = HERE / "plain_xl.safetensors", ROOT / "lora" / "kohya.safetensors"
        face = self.folder / "face.safetensors"
        write_safetensors(face, {"image_proj.proj.0.weight": ("F16", [4, 2], bytes(16)),
                                 "image_proj.norm.weight": ("F16", [4], bytes(8)),
                                 "ip_adapter.0.to_q_lora.down.weight": ("F16", [1, 4], bytes(8)),
                                 "ip_adapter.1.to_k_ip.weight": ("F16", [4, 4], bytes(32))})
        torn = self.folder / "torn.safetensors"
        torn.write_bytes(PLAIN.read_bytes()[:-100])
        short = self.folder / "short.safetensors"
        shutil.copy(PLAIN, short)
        edit_safetensors(short, lambda header, data: ({k.replace("3.to_v_ip", "3.to_x_ip"): v for k, v in header.items()},
                                                      data))
        for words, args in (
                (["plain_xl", "cross_attention_dim 32", "cross_attention_dim 64", "attention layers"],
                 ["--ip-adapter", xl]),
                (["expected an IP-Adapter", "LoRA"], ["--ip-adapter", lora]),
                (["expected an IP-Adapter", "CLIP image encoder", "--image-encoder takes it"],
                 ["--ip-adapter", HERE / "image_encoder" / "model.safetensors"]),
                (["FaceID", "InsightFace"], ["--ip-adapter", face]),
                (["torn.safetensors"], ["--ip-adapter", torn]),
                (["ip_adapter.3.to_v_ip.weight", "missing"], ["--ip-adapter", short]),
                (["--image-encoder", "projection_dim is 24", "found 20"],
                 ["--ip-adapter", PLAIN, "--image-encoder", HERE / "image_encoder_wide"]),
                (["--image-encoder", "hidden_size is 32", "found 40"],
                 ["--ip-adapter", PLUS, "--image-encoder", HERE / "image_encoder_wide"]),
                (["--image-encoder", "CLIPVisionModelWithProjection"],
                 ["--ip-adapter", PLAIN, "--image-encoder", MODEL / "text_encoder"]),
                (["--image-encoder", "nothing"], ["--ip-adapter", PLAIN, "--image-encoder", "nowhere"]),
                (["--ip-adapter", "nothing"], ["--ip-adapter", "nowhere"])):
            with self.subTest(words[0]):
                self.refused(1, *words, args=["a", *FAST, *args, *image])

    def test_what_is_missing_is_named(self):
        alone = self.folder / "alone.safetensors"
        shutil.copy(PLAIN, alone)
        self.refused(1, "--image-encoder", "image_encoder beside it", args=[
            "a", *FAST, "--ip-adapter", alone, "--ip-adapter-image", PICTURE])
        for words, args in ((["--ip-adapter-image", "expected it once"], ["--ip-adapter", PLAIN]),
                            (["--ip-adapter-image", "found it 1 times"],
                             ["--ip-adapter", PLAIN, "--ip-adapter", PLUS, "--ip-adapter-image", PICTURE]),
                            (["--ip-adapter-image", "with --ip-adapter"], ["--ip-adapter-image", PICTURE]),
                            (["--ip-adapter-start", "with --ip-adapter"], ["--ip-adapter-start", "0.5"]),
                            (["--ip-adapter", "number as scale"],
                             ["--ip-adapter", f"{PLAIN}:x", "--ip-adapter-image", PICTURE]),
                            (["start", "0.9 and 0.1"], ["--ip-adapter", PLAIN, "--ip-adapter-image", PICTURE,
                                                        "--ip-adapter-start", "0.9", "--ip-adapter-end", "0.1"]),
                            (["--ip-adapter-blocks", "NAME=X"], ["--ip-adapter", PLAIN, "--ip-adapter-image", PICTURE,
                                                                 "--ip-adapter-blocks", "style"]),
                            (["up.block_7", "mid_block.attentions.0"],
                             ["--ip-adapter", PLAIN, "--ip-adapter-image", PICTURE, "--ip-adapter-blocks",
                              "up.block_7=1"])):
            with self.subTest(words[0]):
                self.refused(2, *words, args=["a", *FAST, *args])
        self.refused(1, "--ip-adapter-image", args=["a", *FAST, "--ip-adapter", PLAIN, "--ip-adapter-image", "no.png"])

    def test_other_options_say_what_it_is(self):
        for option in ("--lora", "--model", "--unet"):
            with self.subTest(option):
                args = [a for a in FAST if option != "--model" or a not in ("--model", MODEL)]
                done = self.refused(1, "IP-Adapter", args=["a", *args, option, PLUS])
                self.assertIn("--ip-adapter takes it", done.stderr)

    def test_inspect(self):
        planned = run("inspect", MODEL, "--ip-adapter", PLUS, "--ip-adapter-image", PICTURE, "--dtype", "fp32")
        self.assertEqual(planned.returncode, 0, planned.stderr)
        for word in ("image_encoder – CLIPVisionModelWithProjection", "image_proj – IP-Adapter", "encoding pictures"):
            self.assertIn(word, planned.stdout)
        for path, words in ((PLAIN, ["IP-Adapter, 4 tokens a picture", "cross_attention_dim 32", "projection_dim 24"]),
                            (PLUS, ["IP-Adapter plus, 5 tokens", "hidden_size 32"]),
                            (HERE / "image_encoder" / "model.safetensors",
                             ["CLIP image encoder", "vision_model.embeddings.class_embedding"])):
            done = run("inspect", path, "--no-hash")
            self.assertEqual(done.returncode, 0, done.stderr)
            for word in words:
                self.assertIn(word, done.stdout)


if __name__ == "__main__":
    unittest.main()
