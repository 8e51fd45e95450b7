"""Adapters of the LoRA family through the command, against what diffusers, peft and the published formulas give."""
import hashlib
import json
import re
import shutil
import struct
import unittest

from harness import (GOLDENS, MODEL, Case, edit_safetensors, png_pixels, png_text, read_safetensors, relative_l2, run,
                     write_safetensors)

LORA = GOLDENS.parent / "lora"
INDEX = json.loads((LORA / "index.json").read_text())
BOUNDS = INDEX["bounds"]
TINY = ["--model", MODEL, "--steps", "2", "--width", "40", "--height", "24", "--dtype", "fp32", "--seed", "3"]


def options(loras):
    return [word for file, unet, text in loras for word in ("--lora", f"{LORA / file}:{unet}:{text}")]


class Lora(Case):
    def trace(self, *args):
        trace = self.folder / "trace.safetensors"
        done = run("generate", *INDEX["args"], "--model", GOLDENS / INDEX["model"], "--initial-latents",
                   LORA / "initial_latents.safetensors", "--trace", trace, "--out-dir", self.out, "--quiet", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = read_safetensors(trace)
        found["latents"] = found[max(name for name in found if name.startswith("latents."))]
        return found, done

    def errors(self, case, found):
        expected = read_safetensors(LORA / case["expected"])
        return {name: (relative_l2(found[name], tensor), BOUNDS[name.removeprefix("negative_")])
                for name, tensor in expected.items()}

    def test_every_case(self):
        self.assertGreater(len(INDEX["cases"]), 15)
        for case in INDEX["cases"]:
            with self.subTest(case["name"]):
                found, done = self.trace(*options(case["loras"]))
                self.assertEqual(done.stderr, "", "a warning")
                for name, (error, bound) in self.errors(case, found).items():
                    self.assertLess(error, bound, name)
                    self.assertLess(case["jitter"][name], bound / 10, name)
                self.assertGreater(case["effect"], 100 * BOUNDS["latents"])

    def test_every_case_at_run_time(self):
        beside = 0
        for case in INDEX["cases"]:
            with self.subTest(case["name"]):
                found, _ = self.trace("--lora-mode", "runtime", *options(case["loras"]))
                merged, _ = self.trace(*options(case["loras"]))
                for name, (error, bound) in self.errors(case, found).items():
                    self.assertLess(error, bound, name)
                beside += found["latents"] != merged["latents"]  # roundings tell that branches ran
        self.assertGreaterEqual(beside, 6)

    def test_the_comparison_can_fail(self):
        cases = {case["name"]: case for case in INDEX["cases"]}
        found, _ = self.trace(*options([["kohya.safetensors", 1.01, 1]]))
        self.assertGreater(self.errors(cases["kohya"], found)["latents"][0], BOUNDS["latents"])
        found, _ = self.trace(*options([["kohya.safetensors", 1, 1.01]]))
        self.assertGreater(self.errors(cases["kohya"], found)["prompt_embeds"][0], BOUNDS["prompt_embeds"])


    # ---- the command -------------------------------------------------------------------------------------------------

    def picture(self, *args):
        paths = self.generate(*TINY, "a red balloon", *args)
        self.assertEqual(len(paths), 1)
        return paths[0]

    def test_weights_names_and_order(self):
        file = LORA / "kohya.safetensors"
        plain = png_pixels(self.picture())
        one = png_pixels(self.picture("--lora", file))
        self.assertNotEqual(plain, one)
        self.assertEqual(one, png_pixels(self.picture("--lora", f"{file}:1")))
        self.assertEqual(one, png_pixels(self.picture("--lora", f"{file}:1:1")))
        self.assertEqual(plain, png_pixels(self.picture("--lora", f"{file}:0")))
        self.assertNotEqual(one, png_pixels(self.picture("--lora", f"{file}:1:0")))
        self.assertEqual(one, png_pixels(self.picture("--lora", "kohya", "--lora-dir", LORA)))
        self.assertEqual(one, png_pixels(self.picture("--lora", "kohya:1", "--lora-dir", LORA)))
        tagged = png_pixels(self.generate(*TINY, "a red balloon<lora:kohya:1>", "--lora-dir", LORA, "--prompt-style",
                                          "a1111")[0])
        untagged = png_pixels(self.picture("--lora", file, "--prompt-style", "a1111"))
        self.assertEqual(tagged, untagged)
        colon = self.folder / "a:b.safetensors"
        shutil.copy(file, colon)
        self.assertEqual(one, png_pixels(self.picture("--lora", colon)))
        self.assertEqual(one, png_pixels(self.picture("--lora", f"{colon}:1")))

    def test_pictures_say_which_and_can_be_made_again(self):
        path = self.picture("--lora", f"{LORA / 'kohya.safetensors'}:0.8:0.5", "--lora", LORA / "locon.safetensors")
        text = png_text(path)
        known = json.loads(text["easel"])
        self.assertEqual([lora.rsplit("/", 1)[1] for lora in known["loras"]],
                         ["kohya.safetensors:0.8:0.5", "locon.safetensors:1"])
        self.assertRegex(text["parameters"], r'Lora hashes: "kohya: [0-9a-f]{12}, locon: [0-9a-f]{12}"')
        self.assertEqual(png_pixels(self.generate("--from-image", path)[0]), png_pixels(path))
        # The web UI's hash is that of the data behind the header.
        raw = (LORA / "kohya.safetensors").read_bytes()
        digest = hashlib.sha256(raw[8 + struct.unpack("<Q", raw[:8])[0]:]).hexdigest()
        self.assertIn(f"kohya: {digest[:12]}", text["parameters"])
        tagged = self.generate(*TINY, "sea <lora:kohya:0.5>", "--lora-dir", LORA, "--prompt-style", "a1111")[0]
        text = png_text(tagged)
        self.assertIn("<lora:kohya:0.5>", text["parameters"])
        self.assertIn("kohya: " + digest[:12], text["parameters"])
        self.assertEqual(png_pixels(self.generate("--from-image", tagged)[0]), png_pixels(tagged))

    def test_prompts_of_a_file_may_differ_in_them(self):
        prompts = self.folder / "prompts.txt"
        prompts.write_text("sea <lora:kohya:1>\nsea\nsea <lora:dora:1>\n")
        args = [*TINY, "--prompt-style", "a1111", "--lora-dir", LORA]
        together = self.generate(*args, "--prompt-file", prompts)
        self.assertEqual(len(together), 3)
        for path, prompt in zip(together, prompts.read_text().splitlines()):
            self.assertEqual(png_pixels(path), png_pixels(self.generate(*args, prompt)[0]), prompt)

    def test_run_time_mode_is_noted_and_made_again(self):
        path = self.picture("--lora", LORA / "kohya.safetensors", "--lora-mode", "runtime")
        self.assertEqual(json.loads(png_text(path)["easel"])["lora_mode"], "runtime")
        self.assertEqual(png_pixels(self.generate("--from-image", path)[0]), png_pixels(path))
        shutil.rmtree(self.out)
        self.refused(2, "--lora-mode", "later", args=[*TINY, "sea", "--lora-mode", "later"])

    def test_json_tells_the_seconds(self):
        done = run("generate", *TINY, "sea", "--lora", LORA / "kohya.safetensors", "--json", "--out-dir", self.out)
        self.assertGreater(json.loads(done.stdout)["seconds"]["lora"], 0)

    def test_convert_merges_them_in(self):
        loras = ["--lora", f"{LORA / 'kohya.safetensors'}:0.8:0.5", "--lora", LORA / "locon.safetensors"]
        expected, _ = self.trace(*loras)
        merged = self.folder / "merged"
        done = run("convert", MODEL, merged, *loras, "--check")
        self.assertEqual(done.returncode, 0, done.stderr)
        trace = self.folder / "merged.safetensors"
        done = run("generate", *INDEX["args"], "--model", merged, "--initial-latents",
                   LORA / "initial_latents.safetensors", "--trace", trace, "--out-dir", self.out, "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = read_safetensors(trace)
        for name in ("prompt_embeds", "latents.2", "decoded"):
            self.assertEqual(found[name], expected[name], name)  # float32 holds every bit
        done = run("convert", MODEL, self.folder / "one.safetensors", *loras, "--dtype", "fp16", "--check", "--json")
        self.assertLess(json.loads(done.stdout)["check"]["worst"]["f16"]["relative_error"], 1e-3)
        other = self.folder / "vae.safetensors"
        done = run("convert", MODEL / "vae/diffusion_pytorch_model.safetensors", other, *loras)
        self.check_refusal(done, 2, ["--lora", "UNet"])
        self.assertFalse(other.exists())

    def test_inspect_tells_what_a_file_is(self):
        done = run("inspect", LORA / "kohya.safetensors", "--json")
        lora = json.loads(done.stdout)["lora"]
        self.assertEqual(lora["for"], "Stable Diffusion 1.x")
        self.assertEqual(lora["naming"], "kohya")
        self.assertEqual(sum(lora["ranks"].values()), sum(lora["layers"].values()))
        self.assertEqual(set(lora["ranks"]), {"2", "3", "4"})
        self.assertEqual(set(lora["layers"]), {"unet", "text_encoder"})
        self.assertEqual(lora["not_read"], [])
        done = run("inspect", LORA / "dora.safetensors")
        self.assertIn("LoRA, DoRA ×", done.stdout)
        for name, kind in (("lycoris_loha", "LoHa"), ("lycoris_lokr", "LoKr"), ("early", "LoRA")):
            self.assertIn(f"adapters    {kind} ×", run("inspect", LORA / f"{name}.safetensors").stdout)

    # ---- bad input ---------------------------------------------------------------------------------------------------

    def changed(self, edit, name="bad.safetensors", source="kohya.safetensors"):
        path = self.folder / name
        shutil.copy(LORA / source, path)
        edit_safetensors(path, edit)
        return path

    def rename(self, change, source="kohya.safetensors", metadata=None):
        def edit(header, data):
            out = {change(name): info for name, info in header.items() if name != "__metadata__"}
            if metadata:
                out["__metadata__"] = metadata
            return out, data
        return self.changed(edit, source=source)

    def test_bad_files(self):
        args = [*TINY, "sea", "--lora"]
        self.refused(1, "nothing.safetensors", "--lora-dir", args=[*args, "nothing.safetensors"])
        self.refused(1, "nothing", "kohya", args=[*args, "nothing", "--lora-dir", LORA])
        self.refused(2, "--lora", "weight", "loud", args=[*args, f"{LORA / 'kohya.safetensors'}:loud"])
        self.refused(2, "--lora", args=[*args, ""])
        self.refused(1, "--lora-dir", args=[*args, "x", "--lora-dir", self.folder / "none"])
        self.refused(1, "expected a LoRA, found: ", args=[*args, MODEL / "unet/diffusion_pytorch_model.safetensors"])
        self.refused(1, "adapter_model.safetensors", args=[*args, self.folder])
        self.refused(2, "kohya", "<lora:kohya:much>".strip("<>"),
                     args=[*TINY, "sea <lora:kohya:much>", "--prompt-style", "a1111", "--lora-dir", LORA])
        cut = self.folder / "cut.safetensors"
        cut.write_bytes((LORA / "kohya.safetensors").read_bytes()[:-100])
        self.refused(1, "cut.safetensors", args=[*args, cut])

    def test_another_family(self):
        key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
        xl = self.folder / "xl.safetensors"
        write_safetensors(xl, {f"{key}.lora_down.weight": ("F32", [2, 2048], bytes(2 * 2048 * 4)),
                               f"{key}.lora_up.weight": ("F32", [24, 2], bytes(2 * 24 * 4))})
        self.refused(1, "expected a LoRA for Stable Diffusion 1.x, found one for Stable Diffusion XL", key,
                     "2048 features", args=[*TINY, "sea", "--lora", xl])
        said = self.rename(lambda name: name.replace("lora_te_", "lora_te2_"),
                           metadata={"ss_base_model_version": "sdxl_base_v1-0"})
        self.refused(1, "found one for Stable Diffusion XL", "ss_base_model_version", "12 of", "lora_te2_text_model",
                     args=[*TINY, "sea", "--lora", said])
        flux = self.rename(lambda name: re.sub(r"lora_(unet|te)_.*?\.", lambda m: "lora_unet_double_blocks_%d_x." %
                                               (hash(m[0]) % 10**9), name))
        done = self.refused(1, "found one for FLUX", "match nothing: lora_unet_double_blocks_", "more",
                            args=[*TINY, "sea", "--lora", flux])
        self.assertLess(len(done.stderr), 1200)

    def test_layers_that_match_nothing_are_named(self):
        path = self.rename(lambda name: name.replace("lora_te_text_model_encoder_layers_1_", "lora_te_layers_7_"))
        done = run("generate", *TINY, "sea", "--lora", path, "--out-dir", self.out)
        self.assertEqual(done.returncode, 0)
        self.assertIn("lora_te_layers_7_", done.stderr)
        self.assertEqual(len([line for line in done.stderr.splitlines() if "left out" in line]), 1)

    def test_shapes_ranks_and_numbers(self):
        down = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight"

        def refused(edit, *words, status=1):
            self.refused(status, "bad.safetensors", *words, args=[*TINY, "sea", "--lora", self.changed(edit)])

        def shape(name, change):
            def edit(header, data):
                header[name]["shape"] = change(header[name]["shape"])
                return header, data
            return edit

        def values(content):
            def edit(header, data):
                begin = header[down]["data_offsets"][0]
                data[begin:begin + len(content)] = content
                return header, data
            return edit

        def drop(header, data):
            return {("other" if name == down else name): info for name, info in header.items()}, data

        refused(shape(down, lambda s: [s[1], s[0]]), "rank")
        refused(shape(down, lambda s: [s[0] * s[1]]), "'down'")
        refused(values(b"\x00\x7c"), "finite", "attn1_to_q")   # infinity in float16
        refused(values(b"\x01\x7e"), "finite", "attn1_to_q")
        refused(drop, "'down' beside 'up'")
        wide = self.changed(lambda header, data: (header, data), source="no_alpha.safetensors")
        write_safetensors(wide, {
            "lora_unet_conv_in.lora_down.weight": ("F32", [2, 4, 1, 1], bytes(32)),
            "lora_unet_conv_in.lora_up.weight": ("F32", [24, 2, 1, 1], bytes(192))})
        self.refused(1, "conv_in", "[24, 4, 3, 3]", args=[*TINY, "sea", "--lora", wide])
        write_safetensors(wide, {"lora_unet_conv_in.oft_blocks": ("F32", [2, 2], bytes(16))})
        self.refused(1, "OFT", args=[*TINY, "sea", "--lora", wide])
        write_safetensors(wide, {
            "lora_unet_conv_in.lora_down.weight": ("F32", [2, 4, 3, 3], bytes(288)),
            "lora_unet_conv_in.lora_up.weight": ("F32", [24, 2, 1, 1], bytes(192)),
            "lora_unet_conv_in.dora_scale": ("F32", [23, 1, 1, 1], bytes(92))})
        self.refused(1, "magnitudes", args=[*TINY, "sea", "--lora", wide])
        write_safetensors(wide, {
            "lora_unet_conv_in.lora_down.weight": ("F32", [2, 4, 3, 3], bytes(288)),
            "lora_unet_conv_in.lora_up.weight": ("F32", [24, 2, 1, 1], bytes(192)),
            "lora_unet_conv_in.alpha": ("F32", [2], bytes(8))})
        self.refused(1, "alpha", args=[*TINY, "sea", "--lora", wide])


if __name__ == "__main__":
    unittest.main(verbosity=1)
