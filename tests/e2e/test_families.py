"""Stable Diffusion 2, SDXL, the refiner, latent consistency and pruned models through the command, against diffusers."""
import json
import math
import shutil
import struct
import unittest

from golden_cases import GoldenCase
from harness import GOLDENS, edit_safetensors, png_pixels, read_safetensors, relative_l2, run

FAMILIES = GOLDENS.parent / "families"


class Families(GoldenCase):
    goldens = FAMILIES

    def test_every_case(self):
        self.assertGreater(len(self.cases), 20)
        for case in self.cases:
            with self.subTest(case["name"]):
                self.check(case, self.trace(case))

    def original_layout(self, model, unet=None):
        """The model as one file in the original layout, and a folder of its configurations without weights."""
        name = (unet or model).replace("/", "-")
        single, whole, configs = (self.folder / part for part in (f"{name}.safetensors", f"whole-{name}", f"configs-{name}"))
        if not single.exists():
            shutil.copytree(FAMILIES / model, whole)
            if unet:
                shutil.rmtree(whole / "unet")
                shutil.copytree(FAMILIES / unet, whole / "unet")
            done = run("convert", whole, single, "--check", "--quiet")
            self.assertEqual(done.returncode, 0, done.stderr)
            shutil.copytree(whole, configs, ignore=shutil.ignore_patterns("*.safetensors"))
        return single, configs

    def test_every_case_from_the_original_layout(self):
        # Heads and groups of tiny models are no published ones: the folder of configurations tells them.
        for case in self.cases:
            with self.subTest(case["name"]):
                single, configs = self.original_layout(case["model"], case.get("unet"))
                extra = ["--unet", single, "--vae", single]
                for part in ("text_encoder", "text_encoder_2"):
                    if (configs / part).exists():
                        extra += ["--" + part.replace("_", "-"), single]
                plain = {key: value for key, value in case.items() if key != "unet"}
                self.check(case, self.trace(plain, self.model_of(case, configs), extra), " (original)")

    def test_inspect_tells_family_and_prediction(self):
        for model, family in (("sd2", "Stable Diffusion 2.x"), ("xl", "Stable Diffusion XL"),
                              ("refiner", "Stable Diffusion XL refiner"), ("lcm", "Stable Diffusion 1.x")):
            with self.subTest(model):
                done = run("inspect", FAMILIES / model, "--json")
                self.assertEqual(done.returncode, 0, done.stderr)
                found = json.loads(done.stdout)
                self.assertEqual(found["family"], family)
                self.assertTrue(found["family_reason"])
                self.assertEqual(found["prediction_type"], "epsilon")
                single, _ = self.original_layout(model)
                done = run("inspect", single, "--json", "--no-hash")
                self.assertEqual(json.loads(done.stdout)["summary"], family + ", whole checkpoint", done.stdout[:500])

    def test_prompt_styles_with_two_encoders(self):
        prompts = FAMILIES / "prompts"
        cases = json.loads((prompts / "index.json").read_text())
        self.assertEqual(len(cases), 2)
        for case in cases:
            with self.subTest(case["name"]):
                trace = self.folder / "trace.safetensors"
                done = run("generate", case["prompt"], "--prompt-style", case["style"], "--embedding",
                           prompts / "embeddings", "--model", FAMILIES / "xl", "--steps", "1", "--seed", "1", "--width",
                           "40", "--height", "24", "--dtype", "fp32", "--trace", trace, "--out-dir", self.out, "--quiet")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(done.stderr, "")
                found = read_safetensors(trace)
                for name, value in read_safetensors(prompts / case["expected"]).items():
                    self.assertLessEqual(relative_l2(found[name], value), self.bounds["prompt_embeds"], name)

    def latents(self, model, *extra, dtype="fp32"):
        trace = self.folder / "trace.safetensors"
        done = run("generate", "wow! a boat", "--negative-prompt", "fog", "--model", model, "--steps", "2", "--width",
                   "64", "--height", "64", "--dtype", dtype, "--seed", "1", *extra, "--trace", trace, "--out-dir",
                   self.out, "--quiet")
        self.assertEqual(done.returncode, 0, f"{model}: {done.stderr}")
        return read_safetensors(trace)

    def test_a_unet_alone_takes_the_rest_from_a_folder(self):
        """SDXL-Lightning and its like are published as the UNet's tensors and nothing else."""
        expected = self.latents(FAMILIES / "xl")
        for names in ("diffusers", "original"):
            with self.subTest(names):
                unet = self.folder / f"{names}.safetensors"
                done = run("convert", FAMILIES / "xl", unet, "--component", "unet", "--names", names, "--quiet")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(self.latents(FAMILIES / "xl", "--unet", unet), expected)

    def test_lightning_by_options(self):
        """What a UNet file does not say about its distillation is given on the command line."""
        for name, extra in (("xl_lightning_4", []), ("xl_lightning_1", ["--prediction-type", "sample"])):
            case = {k: v for k, v in next(c for c in self.cases if c["name"] == name).items() if k != "scheduler_config"}
            found = self.trace(case, extra=["--sampler", "euler", "--scheduler", "trailing", *extra])
            self.check(case, found, " (options)")

    def test_options_of_other_families_are_refused(self):
        """Nothing that is asked for is left out in silence."""
        def refused(model, word, *args):
            self.refused(2, args[0], word, args=["a boat", "--model", model, "--steps", "1", "--width", "64", "--height", "64", *args])

        xl, sd, refiner = FAMILIES / "xl", FAMILIES / "sd2", FAMILIES / "refiner"
        for option, value in (("--original-size", "30x20"), ("--crops-coords-top-left", "1,0"), ("--target-size", "8x8"),
                              ("--negative-original-size", "8x8"), ("--aesthetic-score", "7"), ("--negative-aesthetic-score", "3"),
                              ("--prompt-2", "a cat")):
            refused(sd, "Stable Diffusion 2.x", option, value)
        refused(sd, "Stable Diffusion 2.x", "--negative-prompt-2", "a cat", "--negative-prompt", "fog")
        refused(xl, "refiner", "--aesthetic-score", "7")
        refused(refiner, "refiner", "--target-size", "8x8")
        refused(refiner, "two text encoders", "--prompt-2", "a cat")
        refused(xl, "--negative-prompt", "--negative-prompt-2", "a cat")
        refused(xl, "a1111", "--prompt-2", "a cat", "--prompt-style", "a1111")
        # A hand-over gives each model what it takes.
        (picture,) = self.generate("a boat", "--model", xl, "--refiner", refiner, "--steps", "5", "--width", "64", "--height",
                                   "64", "--seed", "1", "--target-size", "32x32", "--aesthetic-score", "7", "--prompt-2", "a cat")
        (other,) = self.generate("a boat", "--model", xl, "--refiner", refiner, "--steps", "5", "--width", "64", "--height",
                                 "64", "--seed", "1", "--target-size", "32x32", "--aesthetic-score", "7")
        self.assertNotEqual(png_pixels(picture), png_pixels(other))
        (again,) = self.generate("--from-image", picture)
        self.assertEqual(picture.read_bytes(), again.read_bytes())
        # Another model makes the same picture as well as it can, and says what it leaves out.
        done = run("generate", "--from-image", other, "--model", sd, "--out-dir", self.out, "--quiet", "--refiner", sd)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("left out", done.stderr)

    def test_two_prompts(self):
        """The second encoder's text: weights and chunks of its own in comfy's style."""
        args = ["--prompt-style", "comfy", "--prompt-2", "a (dog:1.3) " + "and a very long story " * 30]
        weighted = self.latents(FAMILIES / "xl", *args)
        plain = self.latents(FAMILIES / "xl", "--prompt-style", "comfy", "--prompt-2", args[-1].replace("(dog:1.3)", "dog"))
        self.assertNotEqual(weighted["prompt_embeds"], plain["prompt_embeds"])
        (shape, values) = weighted["prompt_embeds"]
        self.assertEqual(shape[1] % 77, 0)
        self.assertGreater(shape[1], 77)
        # The first encoder's half is the prompt's, filled up with empty chunks; the second's is the other text.
        first = self.latents(FAMILIES / "xl", "--prompt-style", "comfy")["prompt_embeds"][1]
        width = shape[2]
        for token in range(77):
            row = slice(token * width, token * width + 24)
            self.assertEqual(values[row], first[row])
        done = run("inspect", FAMILIES / "xl", "--prompt", "wow", "--prompt-2", "a dog", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        entry = json.loads(done.stdout)["prompt"]["conditionings"][0]["schedule"][0]
        self.assertEqual((entry["text"], entry["second_encoder"]["text"]), ("wow", "a dog"))
        self.assertIn("second encoder: \"a dog\"", run("inspect", FAMILIES / "xl", "--prompt", "wow", "--prompt-2", "a dog").stdout)

    def test_activations_beyond_fp16_make_no_black_picture(self):
        """SDXL's decoder leaves the range of fp16. One that does so by far, and is the same network: norms take it back."""
        folder = self.folder / "wide"
        self.assertEqual(run("convert", FAMILIES / "xl", folder, "--dtype", "fp32", "--quiet").returncode, 0)
        (vae,) = (folder / "vae").glob("*.safetensors")

        def enlarge(header, data):
            for name in ("decoder.conv_in.weight", "decoder.conv_in.bias"):
                begin, end = header[name]["data_offsets"]
                form = f"<{(end - begin) // 4}f"
                data[begin:end] = struct.pack(form, *(x * 2**14 for x in struct.unpack(form, data[begin:end])))
            return header, data

        edit_safetensors(vae, enlarge)
        traced, weights = self.latents(folder), read_safetensors(vae)
        expected, latents = traced["decoded"], traced["latents.1"]
        self.assertLess(max(map(abs, weights["decoder.conv_in.weight"][1])), 65504)

        def conv(picture, name, size):
            """Of the pixels inside: {(channel, y, x): value}"""
            (shape, w), (_, bias), half = weights[name + ".weight"], weights[name + ".bias"], size // 2
            at = lambda o, i, dy, dx: w[((o * shape[1] + i) * size + dy) * size + dx]  # noqa: E731
            return {(o, y, x): bias[o] + sum(at(o, i, dy, dx) * picture[i, y + dy - half, x + dx - half] for i in range(shape[1])
                                             for dy in range(size) for dx in range(size))
                    for o in range(shape[0]) for y in range(half, 8 - half) for x in range(half, 8 - half)}

        self.assertEqual(latents[0], [1, 4, 8, 8])
        start = {(c, y, x): latents[1][(c * 8 + y) * 8 + x] / 0.13025 for c in range(4) for y in range(8) for x in range(8)}
        inside = conv(conv(start, "post_quant_conv", 1), "decoder.conv_in", 3)
        self.assertGreater(max(map(abs, inside.values())), 2 * 65504)
        for dtype, bound in (("fp32", 0), ("bf16", 0.1), ("fp16", 0.02)):
            with self.subTest(dtype):
                found = self.latents(folder, "--vae-dtype", dtype)["decoded"]
                self.assertLessEqual(relative_l2(found, expected), bound)

    def test_inpainting_and_pix2pix_load_and_ask_for_their_picture(self):
        for model, channels, kind, words in (("xl", 9, "inpainting", "--init-image and --mask"),
                                             ("sd2", 9, "inpainting", "--init-image and --mask"),
                                             ("xl", 8, "instruct-pix2pix", "--init-image"),
                                             ("lcm", 8, "instruct-pix2pix", "--init-image")):
            with self.subTest(f"{model} {channels}"):
                folder, single = (self.folder / f"{model}-{channels}-{layout}" for layout in ("folder", "single"))
                for target, extra in ((folder, []), (single, ["--single-file"])):
                    done = run("make-random", FAMILIES / model, target, "--in-channels", str(channels), *extra)
                    self.assertEqual(done.returncode, 0, done.stderr)
                done = run("inspect", folder, "--json")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertTrue(json.loads(done.stdout)["family"].endswith(", " + kind), done.stdout[:200])
                done = run("inspect", single / "model.safetensors", "--no-hash")
                self.assertIn(f", {kind}, whole checkpoint", done.stdout)
                self.refused(2, kind, f"takes {channels} channels", words, args=["a boat", "--model", folder])
                text = run("inspect", folder).stdout
                guided = model != "lcm"  # which takes the scale as an input
                self.assertEqual("three branches in one batch" in text, kind == "instruct-pix2pix" and guided, text)
                self.assertEqual("two branches in one batch" in text, kind == "inpainting" and guided, text)

    def test_what_an_original_file_does_not_say_is_as_published(self):
        """Heads 64 wide, 32 groups: the folder and the single file of the same random weights give the same bits."""
        clip = dict(vocab_size=606, hidden_size=64, intermediate_size=128, num_attention_heads=1, num_hidden_layers=2)
        changes = {
            "sd2": ({"attention_head_dim": [1, 2], "cross_attention_dim": 1024},
                    {"text_encoder": dict(clip, hidden_size=1024, num_attention_heads=16, hidden_act="gelu")}),
            "xl": ({"attention_head_dim": [1, 1, 2], "block_out_channels": [32, 64, 128], "cross_attention_dim": 192,
                    "projection_class_embeddings_input_dim": 64 + 6 * 8},
                   {"text_encoder": clip, "text_encoder_2": dict(clip, hidden_size=128, num_attention_heads=2,
                                                                 projection_dim=64)}),
            "refiner": ({"attention_head_dim": [1, 1, 1, 2], "block_out_channels": [32, 32, 64, 128],
                         "cross_attention_dim": 128, "projection_class_embeddings_input_dim": 64 + 5 * 8},
                        {"text_encoder_2": dict(clip, hidden_size=128, num_attention_heads=2, projection_dim=64)})}
        for model, (unet, texts) in changes.items():
            with self.subTest(model):
                configs = self.folder / f"{model}-configs"
                shutil.copytree(FAMILIES / model, configs, ignore=shutil.ignore_patterns("*.safetensors"))

                def change(part, values):
                    path = configs / part / "config.json"
                    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

                unet.setdefault("block_out_channels", [64, 128])
                change("unet", {"norm_num_groups": 32, **unet})
                change("vae", {"block_out_channels": [32, 32, 32, 32], "norm_num_groups": 32})
                for part, values in texts.items():
                    change(part, values)
                folder, single = self.folder / f"{model}-folder", self.folder / f"{model}-single"
                for target, extra in ((folder, []), (single, ["--single-file"])):
                    done = run("make-random", configs, target, *extra)
                    self.assertEqual(done.returncode, 0, done.stderr)
                tokenizer = single / ("tokenizer" if (single / "tokenizer").exists() else "tokenizer_2")
                scheduler = ["--sampler", "ddim"]
                extra = ["--prediction-type", "epsilon"] if model == "sd2" else []
                expected = self.latents(folder, *scheduler)
                self.assertEqual(self.latents(single / "model.safetensors", "--tokenizer", tokenizer, *scheduler, *extra),
                                 expected)
                # And back to a folder.
                back = self.folder / f"{model}-back"
                done = run("convert", single / "model.safetensors", back, "--tokenizer", tokenizer, "--check", "--quiet")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(self.latents(back, *scheduler, *extra), expected)

    def test_large_activations_of_the_vae_fit_every_precision(self):
        """SDXL's decoder leaves the range of binary16; no precision makes a black picture of that."""
        vae = self.folder / "vae"
        shutil.copytree(FAMILIES / "xl" / "vae", vae)
        (vae / "diffusion_pytorch_model.safetensors").unlink()
        done = run("convert", FAMILIES / "xl", vae / "diffusion_pytorch_model.safetensors", "--component", "vae", "--names",
                   "diffusers", "--dtype", "fp32", "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)

        def scale(header, data):
            for name in ("decoder.conv_in.weight", "decoder.conv_in.bias"):  # then 100 times what binary16 holds
                begin, end = header[name]["data_offsets"]
                values = struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
                data[begin:end] = struct.pack(f"<{len(values)}f", *(v * 60000 for v in values))
            return header, data

        edit_safetensors(vae / "diffusion_pytorch_model.safetensors", scale)
        latents = self.folder / "latents.safetensors"
        values = [100 * math.sin(i) for i in range(4 * 8 * 8)]
        content = struct.pack(f"<{len(values)}f", *values)
        header = {"latents": {"dtype": "F32", "shape": [1, 4, 8, 8], "data_offsets": [0, len(content)]}}
        text = json.dumps(header).encode()
        latents.write_bytes(struct.pack("<Q", len(text)) + text + content)
        decoded = {}
        for dtype in ("fp32", "fp16", "bf16"):
            decoded[dtype] = self.latents(FAMILIES / "xl", "--vae", vae, "--vae-dtype", dtype, "--initial-latents",
                                          latents)["decoded"]
            self.assertTrue(all(math.isfinite(v) for v in decoded[dtype][1]), dtype)
        self.assertLess(relative_l2(decoded["fp16"], decoded["fp32"]), 2e-3)
        self.assertLess(relative_l2(decoded["bf16"], decoded["fp32"]), 5e-2)


if __name__ == "__main__":
    unittest.main()
