"""What is wrong with what a person gives: one line that says so, the right status, nothing left behind."""
import json
import resource
import struct
import subprocess
import unittest

from harness import EASEL, MODEL, TINY, Case, edit_safetensors, run, write_safetensors

UNET = "unet/diffusion_pytorch_model.safetensors"


class Options(Case):
    def bad(self, status, *words, args):
        self.refused(status, *words, args=args)

    def test_numbers(self):
        prompt = ["a boat", *TINY, "--seed", "1"]
        for option, value, words in (
                ("--steps", "0", []), ("--steps", "-3", []), ("--steps", "4.5", []), ("--steps", "", []),
                ("--width", "0", []), ("--width", "-8", []), ("--width", "44", ["8"]), ("--height", "41", ["8"]),
                ("--width", "99999999999999999999", []), ("--guidance-scale", "nan", []),
                ("--guidance-scale", "inf", []), ("--guidance-scale", "seven", ["seven"]),
                ("--eta", "-1", []), ("--num-images-per-prompt", "0", []), ("--batch-size", "0", []),
                ("--memory-limit", "2.6XB", ["2.6GB"]), ("--memory-limit", "-1GB", []), ("--memory-limit", "0", []),
                ("--vae-tiling", "maybe", ["auto"]), ("--threads", "0", []), ("--threads", "many", ["many"]), ("--seed", "-1", []),
                ("--seed", "18446744073709551616", [])):
            with self.subTest(option=option, value=value):
                args = [a for a in prompt]
                if option in args:
                    at = args.index(option)
                    del args[at:at + 2]
                self.bad(2, option, *words, args=[*args, option, value])

    def test_too_large_for_memory(self):
        for size in (["--width", "800000", "--height", "800000"], ["--width", "2147483640", "--height", "2147483640"]):
            args = [a for a in TINY if a not in ("--width", "--height", "40", "24")]
            done = run("generate", "a boat", *args, "--seed", "1", *size, "--out-dir", self.out)
            self.assertIn(done.returncode, (1, 2))
            self.check_refusal(done, done.returncode, ["--width"])

    def test_memory_limit_says_what_would_fit(self):
        args = [a for a in TINY if a not in ("--width", "--height", "40", "24")]
        done = run("generate", "a boat", *args, "--seed", "1", "--width", "1024", "--height", "1024",
                   "--memory-limit", "150MB", "--out-dir", self.out)
        self.check_refusal(done, 1, ["--memory-limit", "would fit"])
        done = run("generate", "a boat", *args, "--seed", "1", "--memory-limit", "1MB", "--out-dir", self.out)
        self.check_refusal(done, 1, ["--memory-limit", "no size would fit"])

    def test_samplers_and_spacings(self):
        self.bad(2, "--sampler", "eulr", "euler", args=["a boat", *TINY, "--seed", "1", "--sampler", "eulr"])
        self.bad(2, "--scheduler", "karas", "karras", args=["a boat", *TINY, "--seed", "1", "--scheduler", "karas"])
        for words, args in (
                (["--scheduler simple", "--sampler pndm"], ["--sampler", "plms", "--scheduler", "simple"]),
                (["--sigmas", "decreasing"], ["--sampler", "euler", "--sigmas", "3,4,0"]),
                (["--sigmas", "--scheduler karras"], ["--sampler", "euler", "--sigmas", "4,3", "--scheduler", "karras"]),
                (["--denoise", "--sampler pndm"], ["--sampler", "plms", "--denoise", "0.5"]),
                (["--end-step", "--start-step 1"], ["--start-step", "1", "--end-step", "1"]),
                (["--rng", "cuda"], ["--rng", "cude"]),
                (["--variation-strength", "0 to 1"], ["--variation-strength", "1.5"]),
                (["--guidance-start 0.5", "--guidance-end"], ["--guidance-start", "0.5", "--guidance-end", "0.2"]),
                (["--guidance-rescale", "--guidance-scale"], ["--guidance-scale", "1", "--guidance-rescale", "0.5"])):
            self.bad(2, *words, args=["a boat", *TINY, "--seed", "1", *args])

    def test_unknown_options(self):
        self.bad(2, "--stpes", "--steps", args=["a boat", "--stpes", "4"])
        self.bad(2, "--guidance_scale", "--guidance-scale", args=["a boat", "--guidance_scale", "4"])
        self.bad(2, "--colour", args=["a boat", "--colour", "red"])
        self.bad(2, "--steps", args=["a boat", "--steps"])
        self.bad(2, "--steps", args=["a boat", "--steps", "2", "--steps", "3"])
        self.bad(2, "quotes", args=["a", "boat"])
        self.bad(2, "prompt", args=[])
        self.bad(2, "--prompt", args=["a boat", "--prompt", "a car"])

    def test_options_of_later_versions(self):
        for option in ("--preset", "--frames"):
            self.bad(2, option, "not available yet", args=["a boat", *TINY, option, "x"])
        self.bad(2, "--device", "cuda", "cpu", args=["a boat", *TINY, "--device", "cuda"])
        self.bad(2, "--dtype", "fp33", args=["a boat", *TINY[:-2], "--dtype", "fp33"])
        done = run("generate", "a boat", *TINY[:-2], "--dtype", "int8", "--out-dir", self.out)
        self.check_refusal(done, done.returncode, ["int8"])
        self.assertIn(done.returncode, (1, 2))

    def test_commands(self):
        self.check_refusal(run("genrate", "a boat"), 2, ["genrate", "generate"])
        self.check_refusal(run("serve"), 2, ["serve", "not available yet"])
        self.check_refusal(run("--verison"), 2, ["--version"])

    def test_prompts(self):
        self.bad(2, "PROMPT", "UTF-8", args=[b"a \xff boat", *TINY, "--seed", "1"])
        self.bad(2, "--prompt", "UTF-8", args=["--prompt", b"\xc3", *TINY, "--seed", "1"])
        self.bad(2, "--negative-prompt", "UTF-8", args=["a boat", "--negative-prompt", b"\xf0\x9f", *TINY])
        prompts = self.folder / "prompts.txt"
        prompts.write_bytes(b"a boat\na \xff car\n")
        self.bad(2, "--prompt-file", "line 2", "UTF-8", args=["--prompt-file", prompts, *TINY])
        prompts.write_bytes(b"# nothing\n\n")
        self.bad(2, "--prompt-file", "none", args=["--prompt-file", prompts, *TINY])
        self.bad(1, "--prompt-file", args=["--prompt-file", self.folder / "missing.txt", *TINY])
        prompts.write_text("a boat\na car\n")
        self.bad(2, "--trace", args=["--prompt-file", prompts, *TINY, "--trace", self.folder / "t.safetensors"])


class Output(Case):
    def test_out_dir_is_a_file(self):
        file = self.folder / "file"
        file.write_text("precious")
        self.refused(1, "--out-dir", str(file), args=["a boat", *TINY, "--seed", "1"], out=file)
        self.refused(1, "--out-dir", args=["a boat", *TINY, "--seed", "1"], out=file / "below")
        self.assertEqual(file.read_text(), "precious")

    def test_out_dir_is_not_writable(self):
        # No one can make files there, root included.
        self.refused(1, "--out-dir", args=["a boat", *TINY, "--seed", "1"], out="/proc/easel")

    def test_disk_full(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))

        for extra in ([], ["--save-latents"], ["--save-grid"]):
            self.refused(1, str(self.out), args=["a boat", *TINY, "--seed", "1", *extra], preexec=limit)

    def test_trace_elsewhere(self):
        self.refused(1, "--trace", args=["a boat", *TINY, "--seed", "1", "--trace", self.folder / "no" / "t.safetensors"])
        self.refused(1, "--trace", args=["a boat", *TINY, "--seed", "1", "--trace", self.folder])

    def test_standard_output_full(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([EASEL, "generate", "a boat", *map(str, TINY), "--seed", "1", "--out-dir", self.out],
                                  stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1, done.stderr)


class Models(Case):
    def bad(self, *words, model, status=1, extra=()):
        at = TINY.index("--model")
        rest = TINY[:at] + TINY[at + 2:]
        self.refused(status, *words, args=["a boat", "--model", model, *rest, "--seed", "1", *extra])

    def test_not_found(self):
        self.bad("--model", "no-such-model", model="no-such-model")
        self.bad("--model-dir", model="x", extra=["--model-dir", self.folder / "missing"])
        self.bad("model_index.json", model=self.folder)

    def test_unread_formats(self):
        for name in ("model.onnx", "model.xyz"):
            path = self.folder / name
            path.write_bytes(b"\x08\x07\x12\x04test")
            self.bad(name, "expected safetensors", model=path)

    def test_missing_components(self):
        for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
            with self.subTest(part):
                model = self.copy_of_model("without-" + part)
                (model / part).rename(self.folder / ("moved-" + part))
                self.bad(part, model=model)

    def test_configs(self):
        def changed(name, file, edit):
            model = self.copy_of_model(name)
            config = json.loads((model / file).read_text())
            edit(config)
            (model / file).write_text(json.dumps(config))
            return model

        self.bad("model_index.json", "_class_name", "MagicPipeline",
                 model=changed("c1", "model_index.json", lambda c: c.update(_class_name="MagicPipeline")))
        self.bad("unet", "config.json", "MagicUNet",
                 model=changed("c2", "unet/config.json", lambda c: c.update(_class_name="MagicUNet")))
        self.bad("config.json", "block_out_channels",
                 model=changed("c3", "unet/config.json", lambda c: c.update(block_out_channels=[-24, 27])))
        self.bad("config.json", "MagicBlock2D", model=changed(
            "c4", "unet/config.json", lambda c: c.update(down_block_types=["MagicBlock2D", "DownBlock2D"])))
        self.bad("config.json", "hidden_size",
                 model=changed("c5", "text_encoder/config.json", lambda c: c.update(hidden_size="wide")))
        self.bad("config.json", "block_out_channels",
                 model=changed("c6", "vae/config.json", lambda c: c.update(block_out_channels=[])))
        self.bad("MagicScheduler", model=changed(
            "c7", "scheduler/scheduler_config.json", lambda c: c.update(_class_name="MagicScheduler")), extra=())
        model = self.copy_of_model("c8")
        (model / "unet/config.json").write_text("[" * 100000)
        self.bad("config.json", model=model)
        (model / "unet/config.json").write_text('{"a": ')
        self.bad("config.json", model=model)

    def test_weights(self):
        def drop(header, data):
            del header["conv_out.bias"]
            return header, data

        def other_dtype(header, data):
            for info in header.values():
                if isinstance(info, dict) and info.get("dtype") == "F32":
                    info["dtype"] = "I32"
            return header, data

        def other_shape(header, data):
            header["conv_in.bias"]["shape"] = [3, 8]
            return header, data

        def overlap(header, data):
            first, second = list(n for n in header if n != "__metadata__")[:2]
            header[second]["data_offsets"] = list(header[first]["data_offsets"])
            return header, data

        def overflow(header, data):
            header["conv_in.bias"]["shape"] = [1 << 62, 1 << 62]
            return header, data

        def negative(header, data):
            header["conv_in.bias"]["shape"] = [-24]
            return header, data

        for name, edit, word in (("drop", drop, ""), ("dtype", other_dtype, "dtype"), ("shape", other_shape, "conv_in.bias"),
                                 ("overlap", overlap, ""), ("overflow", overflow, "conv_in.bias"),
                                 ("negative", negative, "conv_in.bias")):
            with self.subTest(name):
                model = self.copy_of_model("w-" + name)
                edit_safetensors(model / UNET, edit)
                self.bad("diffusion_pytorch_model.safetensors", model=model)

    def test_broken_files(self):
        whole = (MODEL / UNET).read_bytes()
        nested = b'{"a":' * 5000 + b"1" + b"}" * 5000
        for name, content in (("empty", b""), ("short", whole[:5]), ("header-cut", whole[:100]),
                              ("data-cut", whole[:-100]), ("data-long", whole + b"\0" * 8),
                              ("oversized", struct.pack("<Q", 1 << 62) + whole[8:]),
                              ("not-json", struct.pack("<Q", 16) + b"not json at all!"),
                              ("nested", struct.pack("<Q", len(nested)) + nested),
                              ("pickle", b"\x80\x02}q\x00.")):
            with self.subTest(name):
                model = self.copy_of_model("b-" + name)
                (model / UNET).write_bytes(content)
                self.bad("diffusion_pytorch_model.safetensors", model=model)

    def test_tokenizer(self):
        model = self.copy_of_model()
        (model / "tokenizer/vocab.json").write_text('{"a": "b"}')
        self.bad("vocab.json", model=model)
        (model / "tokenizer/merges.txt").unlink()
        self.bad("tokenizer", model=model)


class Latents(Case):
    def bad(self, status, *words, file):
        self.refused(status, "--initial-latents", *words,
                     args=["a boat", *TINY, "--seed", "1", "--initial-latents", file])

    def test_latents(self):
        good = struct.pack("<60f", *([0.5] * 60))
        path = self.folder / "l.safetensors"
        for name, dtype, shape, content in (("latents", "F32", [1, 4, 5, 3], good), ("latents", "F32", [4, 15], good),
                                            ("latents", "I32", [1, 4, 3, 5], good), ("noise", "F32", [1, 4, 3, 5], good),
                                            ("latents", "F32", [1, 4, 3, 5], struct.pack("<60f", *([float("nan")] * 60)))):
            write_safetensors(path, {name: (dtype, shape, content)})
            done = run("generate", "a boat", *TINY, "--seed", "1", "--initial-latents", path, "--out-dir", self.out)
            self.assertIn(done.returncode, (1, 2), done.stderr)
            self.check_refusal(done, done.returncode, ["latents"])
            self.assertFalse(self.out.exists() and any(self.out.iterdir()))
        done = run("generate", "a boat", *TINY, "--initial-latents", self.folder / "missing.safetensors", "--seed", "1")
        self.check_refusal(done, 1, ["missing.safetensors"])


class FromImage(Case):
    def test_pictures_without_recipe(self):
        picture = self.folder / "p.png"
        picture.write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
        self.refused(1, "p.png", args=["--from-image", picture, *TINY])
        self.refused(1, "missing.png", args=["--from-image", self.folder / "missing.png", *TINY])


if __name__ == "__main__":
    unittest.main()
