"""Containers, layouts and precisions of model files: the same weights give the same picture from each of them."""
import hashlib
import json
import os
import pathlib
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import checkpoints  # noqa: E402
from harness import EASEL, GOLDENS, Case, read_safetensors, relative_l2, run, write_raw_safetensors  # noqa: E402

SINGLE = GOLDENS / "d" / "model.safetensors"  # an original checkpoint with its tokenizer beside it
TOKENIZER = GOLDENS / "d" / "tokenizer"
SIZE = ["--steps", "2", "--width", "40", "--height", "24", "--dtype", "fp32", "--seed", "1", "--sampler", "ddim",
        "--guidance-scale", "3"]
TEXT = "cond_stage_model.transformer.text_model."


def raw_tensors(path):
    """{name: (dtype, shape, bytes)} of a safetensors file."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    out = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        out[name] = (info["dtype"], info["shape"], data[8 + length + begin:8 + length + end])
    return out


def write(path, tensors, metadata=None):
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    write_raw_safetensors(path, header, data)
    return path


def floats(path, name):
    dtype, _, data = raw_tensors(path)[name]
    return struct.unpack(f"<{len(data) // SIZES[dtype]}{CODES[dtype]}", data)


CODES, SIZES = {"F16": "e", "F32": "f"}, {"F16": 2, "F32": 4}


class Formats(Case):
    def convert(self, *args, status=0, **kwargs):
        done = run("convert", *args, **kwargs)
        self.assertEqual(done.returncode, status, f"{args}: {done.stderr}")
        return done

    def latents(self, model, *extra):
        trace = self.folder / "trace.safetensors"
        done = run("generate", "a boat", "--model", model, *SIZE, *extra, "--trace", trace, "--out-dir", self.out, "--quiet")
        self.assertEqual(done.returncode, 0, f"{model}: {done.stderr}")
        found = read_safetensors(trace)
        trace.unlink()
        return found

    def reference(self):
        return self.latents(SINGLE, "--tokenizer", TOKENIZER)

    def test_every_container_gives_the_same_picture(self):
        expected = self.reference()
        tensors = raw_tensors(SINGLE)
        files = {}
        for name, content in (("zip.ckpt", checkpoints.checkpoint_zip(tensors, {"global_step": 470000})),
                              ("legacy.pt", checkpoints.checkpoint_legacy(tensors)),
                              ("plain.gguf", checkpoints.gguf(tensors))):
            files[name] = self.folder / name
            files[name].write_bytes(content)
        files["again.gguf"] = self.folder / "again.gguf"
        self.convert(SINGLE, files["again.gguf"], "--check", "--quiet")
        files["from-ckpt.safetensors"] = self.folder / "from-ckpt.safetensors"
        self.convert(files["zip.ckpt"], files["from-ckpt.safetensors"], "--check", "--quiet")
        self.assertEqual(raw_tensors(files["from-ckpt.safetensors"]), tensors)
        files["shards"] = self.folder / "s.safetensors"
        self.convert(SINGLE, files["shards"], "--max-shard-size", "500KB", "--check", "--quiet")
        files["shards"] = self.folder / "s.safetensors.index.json"
        self.assertGreater(len(list(self.folder.glob("s-*-of-*.safetensors"))), 2)
        for name, path in files.items():
            with self.subTest(name):
                self.assertEqual(self.latents(path, "--tokenizer", TOKENIZER), expected)

    def test_tokenizers_are_found(self):
        alone, models = self.folder / "alone.safetensors", self.folder / "models"
        shutil.copy(SINGLE, alone)
        self.refused(1, "alone.safetensors", "--tokenizer", "beside", args=["a boat", "--model", alone, *SIZE])
        expected = self.reference()
        self.assertEqual(self.latents(SINGLE), expected)  # beside the file
        shutil.copytree(TOKENIZER, models / "tokenizer")
        self.assertEqual(self.latents(alone, "--model-dir", models), expected)

    def test_what_training_programs_wrap_weights_in(self):
        expected, tensors = self.reference(), raw_tensors(SINGLE)
        plain, path = checkpoints.state_pickle(tensors, {"step": 3}, False), self.folder / "x.ckpt"
        key = checkpoints.text("state_dict")
        self.assertEqual(plain.count(key), 1)
        for name, content in (("model", plain.replace(key, checkpoints.text("model"))),
                              ("module", plain.replace(key, checkpoints.text("module"))),
                              ("twice", b"\x80\x02}" + key + plain.removeprefix(b"\x80\x02").removesuffix(b".") + b"s."),
                              ("model of module", b"\x80\x02}" + checkpoints.text("model") + plain.replace(
                                  key, checkpoints.text("module")).removeprefix(b"\x80\x02").removesuffix(b".") + b"s.")):
            entries = {f"a/data/{i}": data for i, (_, _, data) in enumerate(tensors.values())}
            path.write_bytes(checkpoints.zip_archive({"a/data.pkl": content, **entries, "a/version": b"3\n"}))
            with self.subTest(name):
                self.assertEqual(self.latents(path, "--tokenizer", TOKENIZER), expected)

    def test_folders_and_single_files(self):
        expected = self.reference()
        folder, back = self.folder / "folder", self.folder / "back.safetensors"
        done = self.convert(SINGLE, folder, "--tokenizer", TOKENIZER, "--check", "--json", "--quiet")
        report = json.loads(done.stdout)
        self.assertEqual(report["check"]["exact"], report["check"]["tensors"])
        self.assertEqual(len(report["files"]), 3)
        self.assertEqual(self.latents(folder), expected)
        self.convert(folder, back, "--check", "--quiet")
        self.assertEqual(self.latents(back, "--tokenizer", TOKENIZER), expected)
        originals = raw_tensors(SINGLE)
        for name, tensor in raw_tensors(back).items():
            self.assertEqual(tensor, originals[name], name)
        # The same folder with pickles instead, as older ones have them.
        for part in ("unet", "vae", "text_encoder"):
            (file,) = (folder / part).glob("*.safetensors")
            pickled = self.folder / "pickled" / part
            pickled.mkdir(parents=True)
            for config in (folder / part).glob("*.json"):
                (pickled / config.name).write_bytes(config.read_bytes())
            bin_name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
            content = checkpoints.checkpoint_zip(raw_tensors(file))
            (pickled / bin_name).write_bytes(content)
        for part in ("tokenizer", "scheduler", "model_index.json"):
            (self.folder / "pickled" / part).symlink_to(folder / part)
        self.assertEqual(self.latents(self.folder / "pickled"), expected)
        # Precision and shards of a folder.
        half = self.folder / "half"
        self.convert(folder, half, "--dtype", "bf16", "--max-shard-size", "300KB", "--check", "--quiet")
        self.assertTrue((half / "unet" / "diffusion_pytorch_model.safetensors.index.json").is_file())
        found = self.latents(half)
        error = relative_l2(found["latents.1"], expected["latents.1"])
        self.assertTrue(0 < error < 2e-2, error)

    def test_variants(self):
        """A folder with weights of one variant alone is read; of several, one has to be named."""
        folder = self.folder / "folder"
        self.convert(SINGLE, folder, "--tokenizer", TOKENIZER, "--quiet")
        expected = self.latents(folder)
        for part, variant in (("unet", "bf16"), ("vae", "non_ema"), ("text_encoder", "fp16")):
            (file,) = (folder / part).glob("*.safetensors")
            file.rename(file.with_name(file.stem + f".{variant}.safetensors"))
        self.assertEqual(self.latents(folder), expected)
        unet = folder / "unet" / "diffusion_pytorch_model.bf16.safetensors"
        other = unet.with_name("diffusion_pytorch_model.ema.safetensors")
        other.write_bytes(unet.read_bytes())
        done = run("generate", "a boat", "--model", folder, *SIZE, "--out-dir", self.out)
        self.check_refusal(done, 1, ["bf16, ema", "--unet"])
        self.assertEqual(self.latents(folder, "--unet", other), expected)
        # Shards of a variant, with their index.
        self.convert(SINGLE, self.folder / "s.safetensors", "--component", "unet", "--names", "diffusers", "--max-shard-size", "300KB", "--quiet")
        index = json.loads((self.folder / "s.safetensors.index.json").read_text())
        for shard in sorted(set(index["weight_map"].values())):
            (self.folder / shard).rename(folder / "unet" / shard.replace("s-", "diffusion_pytorch_model.int4-", 1))
        index["weight_map"] = {n: f.replace("s-", "diffusion_pytorch_model.int4-", 1) for n, f in index["weight_map"].items()}
        (folder / "unet" / "diffusion_pytorch_model.safetensors.index.int4.json").write_text(json.dumps(index))
        unet.unlink(), other.unlink()
        self.assertEqual(self.latents(folder), expected)

    def test_parts_in_files_of_their_own(self):
        expected = self.reference()
        parts = {}
        for part in ("unet", "vae", "text_encoder"):
            for names in ("original", "diffusers"):
                parts[part, names] = self.folder / f"{part}-{names}.safetensors"
                self.convert(SINGLE, parts[part, names], "--component", part, "--names", names, "--check", "--quiet")
        for names in ("original", "diffusers"):
            with self.subTest(names):
                self.assertEqual(expected, self.latents(
                    parts["unet", names], "--vae", parts["vae", names], "--text-encoder", parts["text_encoder", names],
                    "--tokenizer", TOKENIZER))
        # A folder whose parts are all replaced, also by the parts of a whole checkpoint.
        folder = self.folder / "folder"
        self.convert(SINGLE, folder, "--tokenizer", TOKENIZER, "--quiet")
        for part, option in (("unet", "--unet"), ("vae", "--vae"), ("text_encoder", "--text-encoder")):
            for file in (folder / part).glob("*.safetensors"):
                file.unlink()
        self.assertEqual(expected, self.latents(folder, "--unet", SINGLE, "--vae", SINGLE, "--text-encoder", SINGLE))
        # A VAE baked in.
        zeros = {n: (d, s, bytes(len(b))) for n, (d, s, b) in raw_tensors(parts["vae", "original"]).items()}
        other = write(self.folder / "zeros.safetensors", zeros)
        baked = self.folder / "baked.safetensors"
        self.convert(SINGLE, baked, "--vae", other, "--check", "--quiet")
        found = raw_tensors(baked)
        self.assertEqual(found.keys(), raw_tensors(SINGLE).keys())
        for name, (_, _, data) in found.items():
            if name.startswith("first_stage_model."):
                self.assertFalse(any(data), name)

    def test_pictures_remember_their_parts(self):
        vae = self.folder / "vae.safetensors"
        self.convert(SINGLE, vae, "--component", "vae", "--quiet")
        args = ["--model", SINGLE, "--tokenizer", TOKENIZER, "--vae", vae, *SIZE]
        (picture,) = self.generate("a boat", *args)
        (again,) = self.generate("--from-image", picture)
        self.assertEqual(picture.read_bytes(), again.read_bytes())

    def test_packed_types(self):
        expected = self.reference()
        # Per tensor; of the pictures, bounds that a wrong scale or a swapped nibble breaks by far.
        bounds = {"q8_0": (0.01, 0.02), "q6_k": (0.03, 0.05), "q5_k": (0.05, 0.1), "q5_1": (0.06, 0.1), "q5_0": (0.06, 0.1),
                  "q4_k": (0.1, 0.2), "q4_1": (0.12, 0.2), "q4_0": (0.13, 0.2), "iq4_nl": (0.12, 0.2), "iq4_xs": (0.12, 0.2),
                  "q3_k": (0.2, 0.4), "q2_k": (0.4, 0.7)}
        for dtype, (tensor_bound, latents_bound) in bounds.items():
            with self.subTest(dtype):
                path = self.folder / f"{dtype}.gguf"
                report = json.loads(self.convert(SINGLE, path, "--dtype", dtype, "--check", "--json", "--quiet").stdout)
                self.assertIn(dtype, report["check"]["worst"])
                self.assertLess(report["check"]["worst"][dtype]["relative_error"], tensor_bound)
                found = self.latents(path, "--tokenizer", TOKENIZER)
                error = relative_l2(found["latents.1"], expected["latents.1"])
                print(f"{dtype}: tensors {report['check']['worst'][dtype]['relative_error']:.4f}, latents {error:.4f}", file=sys.stderr)
                self.assertLess(error, latents_bound)
                # What was packed unpacks to the same picture.
                plain = self.folder / "plain.safetensors"
                self.convert(path, plain, "--check", "--quiet")
                self.assertEqual(self.latents(plain, "--tokenizer", TOKENIZER), found)
                plain.unlink()

    def test_fp8(self):
        expected = self.reference()
        for dtype, bound in (("f8_e4m3", 0.15), ("f8_e5m2", 0.25)):
            path = self.folder / f"{dtype}.safetensors"
            self.convert(SINGLE, path, "--dtype", dtype, "--check", "--quiet")
            self.assertLess(path.stat().st_size, SINGLE.stat().st_size * 0.6)
            found = self.latents(path, "--tokenizer", TOKENIZER)
            self.assertLess(relative_l2(found["latents.1"], expected["latents.1"]), bound)
            wide = self.folder / f"{dtype}.gguf"
            self.convert(path, wide, "--check", "--quiet")
            self.assertEqual(self.latents(wide, "--tokenizer", TOKENIZER), found)

    def test_scaled_fp8(self):
        """Weights in fp8 with a scale beside them, as ComfyUI saves them: as if they were multiplied out."""
        plain, wide = self.folder / "f8.safetensors", self.folder / "wide.safetensors"
        self.convert(SINGLE, plain, "--dtype", "f8_e4m3", "--quiet")
        self.convert(plain, wide, "--dtype", "fp32", "--quiet")
        scaled, products = {"model.diffusion_model.scaled_fp8": ("F8_E4M3", [0], b"")}, {}
        multiplied = raw_tensors(wide)
        for i, (name, (dtype, shape, data)) in enumerate(raw_tensors(plain).items()):
            scaled[name] = (dtype, shape, data)
            products[name] = multiplied[name]
            if dtype != "F8_E4M3" or len(shape) != 2 or not name.startswith("model.diffusion_model."):
                continue
            (scale,) = struct.unpack("<f", struct.pack("<f", 0.3 + 0.01 * (i % 50)))
            layer = name.removesuffix(".weight")
            scaled[layer + ".scale_weight"] = ("F32", [], struct.pack("<f", scale))
            scaled[layer + ".scale_input"] = ("F32", [], struct.pack("<f", 1))
            form = f"<{len(data)}f"
            products[name] = ("F32", shape, struct.pack(form, *(scale * x for x in struct.unpack(form, multiplied[name][2]))))
        self.assertGreater(len(scaled), len(products) + 20)
        file, expected = write(self.folder / "scaled.safetensors", scaled), write(self.folder / "products.safetensors", products)
        args = ["--tokenizer", TOKENIZER]
        self.assertEqual(self.latents(file, *args), self.latents(expected, *args))
        # Multiplied out, no scale is left over to be applied once more.
        again = self.folder / "again.safetensors"
        self.convert(file, again, "--dtype", "fp32", "--check", "--quiet")
        self.assertEqual(raw_tensors(again), {n: multiplied[n] if n not in products else products[n] for n in products})
        half = self.folder / "half.safetensors"
        self.convert(file, half, "--check", "--quiet")
        kinds = json.loads(run("inspect", half, "--no-hash", "--json").stdout)["dtypes"]
        self.assertNotIn("f8_e4m3_scaled", kinds)
        self.assertIn("f8_e4m3_scaled", json.loads(run("inspect", file, "--no-hash", "--json").stdout)["dtypes"])
        self.assertLess(relative_l2(self.latents(half, *args)["latents.1"], self.latents(expected, *args)["latents.1"]), 1e-2)

    def test_packed_weights_stay_packed(self):
        for name, dtype in (("w.gguf", "q8_0"), ("w4.gguf", "q4_0"), ("w.safetensors", "f8_e4m3")):
            path = self.folder / name
            self.convert(SINGLE, path, "--dtype", dtype, "--quiet")
            args = ["--tokenizer", TOKENIZER]

            def plan(*extra):
                done = run("inspect", "--model", path, *args, "--dtype", "fp32", "--json", *extra)
                self.assertEqual(done.returncode, 0, done.stderr)
                parts = json.loads(done.stdout)["components"]
                return [sum(part[key] for part in parts) for key in ("block_bytes", "weight_bytes", "parameters")]

            (kept, bytes_kept, parameters), (none, bytes_expanded, _) = plan(), plan("--expand-weights")
            self.assertEqual(none, 0)
            # What is not sensitive: more than half of the values, in little more than one byte each.
            self.assertGreater(kept, 0.2 * parameters, dtype)
            self.assertLess(bytes_kept, 0.7 * bytes_expanded, dtype)
            self.assertEqual(self.latents(path, *args), self.latents(path, *args, "--expand-weights"), dtype)

    def test_merges(self):
        doubled = {}
        for name, (dtype, shape, data) in raw_tensors(SINGLE).items():
            if dtype in CODES:
                form = f"<{len(data) // SIZES[dtype]}{CODES[dtype]}"
                data = struct.pack(form, *(2 * v for v in struct.unpack(form, data)))
            doubled[name] = (dtype, shape, data)
        b = write(self.folder / "b.safetensors", doubled)
        name, schedule = TEXT + "encoder.layers.0.mlp.fc1.weight", "betas"
        values = floats(SINGLE, name)
        self.assertGreater(max(map(abs, values)), 0.01)
        out = self.folder / "merged.safetensors"
        self.convert(SINGLE, b, out, "--weights", "0.25,0.75", "--dtype", "fp32", "--check", "--quiet")
        for found, x in zip(floats(out, name), values, strict=True):
            self.assertAlmostEqual(found, 1.75 * x, places=6)
        self.assertEqual(floats(out, schedule), floats(SINGLE, schedule))  # no weight, so not merged
        # A + 0.5 · (B − A), with a diffusers folder as one of the three.
        folder = self.folder / "folder"
        self.convert(SINGLE, folder, "--tokenizer", TOKENIZER, "--quiet")
        difference = self.folder / "difference.safetensors"
        self.convert(SINGLE, b, folder, difference, "--add-difference", "0.5", "--dtype", "fp32", "--quiet")
        for found, x in zip(floats(difference, name), values, strict=True):
            self.assertAlmostEqual(found, 1.5 * x, places=6)

    def test_memory_does_not_grow_with_the_file(self):
        # Holes instead of data: this process's own memory would count as the program's, which begins as a copy of it.
        path, out = self.folder / "big.safetensors", self.folder / "out.gguf"
        elements = 1 << 28
        header = json.dumps({"w": {"dtype": "F16", "shape": [elements >> 14, 1 << 14], "data_offsets": [0, 2 * elements]}}).encode()
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + 2 * elements)
        with open(self.folder / "log", "wb") as log:
            process = subprocess.Popen([EASEL, "convert", path, out, "--dtype", "q4_0", "--check", "--quiet"], stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(process.returncode, 0, (self.folder / "log").read_text())
        # 512 MiB in, 144 MiB out. The program, buffers, and pages that the kernel read ahead:
        self.assertLess(usage.ru_maxrss, 128 << 10)


class Inspect(Case):
    def report(self, path, *args):
        done = run("inspect", path, "--json", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_weight_files(self):
        found = self.report(SINGLE)
        digest = hashlib.sha256(SINGLE.read_bytes()).hexdigest()
        self.assertEqual((found["sha256"], found["autov2"]), (digest, digest[:10]))
        self.assertEqual(found["family"], "Stable Diffusion 1.x")
        self.assertIn("whole checkpoint", found["summary"])
        self.assertIn("model.diffusion_model.", found["evidence"])
        self.assertEqual(found["prediction_type"], "epsilon")
        tensors = raw_tensors(SINGLE)
        self.assertEqual(found["parameters"], sum(checkpoints.number_of(s) for _, s, _ in tensors.values()))
        self.assertEqual(len(found["tensors"]), len(tensors))
        text = run("inspect", SINGLE).stdout
        for word in (digest, digest[:10], "Stable Diffusion 1.x", "epsilon", "f16"):
            self.assertIn(word, text)
        ckpt = self.folder / "x.ckpt"
        ckpt.write_bytes(checkpoints.checkpoint_zip(tensors, {"global_step": 470000}))
        found = self.report(ckpt, "--no-hash")
        self.assertEqual(found["metadata"]["global_step"], "470000")
        self.assertEqual(found["container"], "PyTorch checkpoint (zip)")
        self.assertNotIn("sha256", found)

    def test_differences(self):
        tensors = raw_tensors(SINGLE)
        same = self.folder / "same.ckpt"
        same.write_bytes(checkpoints.checkpoint_legacy(tensors))
        done = run("inspect", "--diff", SINGLE, same, "--json")
        found = json.loads(done.stdout)
        self.assertEqual((found["equal"], found["values"], found["only_a"]), (len(tensors), [], []))
        names = list(tensors)
        dtype, shape, data = tensors[names[3]]
        tensors[names[3]] = (dtype, shape, bytes(len(data)))
        tensors["new"] = tensors.pop(names[0])
        other = write(self.folder / "other.safetensors", tensors)
        found = json.loads(run("inspect", "--diff", SINGLE, other, "--json").stdout)
        self.assertEqual((found["only_a"], found["only_b"]), ([names[0]], ["new"]))
        self.assertEqual([v["name"] for v in found["values"]], [names[3]])
        self.assertAlmostEqual(found["values"][0]["relative_error"], 1)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (__import__("os").system, (f"touch {self.path}",))


class BadInput(Case):
    def bad(self, *words, model, extra=(), status=1):
        self.refused(status, *words, args=["a boat", "--model", model, "--tokenizer", TOKENIZER, *SIZE, *extra])

    def test_malicious_pickles(self):
        marker = self.folder / "ran"
        tensors = raw_tensors(SINGLE)
        for protocol in range(6):
            payload = pickle.dumps({"state_dict": Payload(marker)}, protocol)
            for name, content in ((f"bare{protocol}.pt", payload),
                                  (f"zip{protocol}.ckpt", checkpoints.zip_archive({"archive/data.pkl": payload})),
                                  (f"legacy{protocol}.ckpt", checkpoints.checkpoint_legacy(tensors).replace(
                                      checkpoints.state_pickle(tensors, {}, True), payload))):
                path = self.folder / name
                path.write_bytes(content)
                self.bad(name, "system", "nothing was run", model=path)
                self.check_refusal(run("inspect", path), 1, ["system"])
                self.check_refusal(run("convert", path, self.folder / "o.safetensors"), 1, ["system"])
        self.assertFalse(marker.exists())
        self.assertFalse((self.folder / "o.safetensors").exists())

    def test_bombs(self):
        for name, payload, words in (("nested.pt", b"]" * 100000 + b"a" * 99999 + b".", ["nested"]),
                                     ("memo.pt", b"\x80\x02Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.", []),
                                     ("long.pt", b"\x80\x02X\xff\xff\xff\xffabc.", ["truncated"])):
            path = self.folder / name
            path.write_bytes(payload)
            self.bad(name, *words, model=path)
        out = self.folder / "deflated.ckpt"
        import zipfile
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", bytes(10 << 20))
        self.bad("deflated.ckpt", "compressed", model=out)
        out.write_bytes(checkpoints.zip_archive({"../../archive/data.pkl": b"}."}))
        self.bad("deflated.ckpt", "..", model=out)

    def test_what_is_no_model(self):
        for tensor, words in (("lora_unet_mid.lora_down.weight", ["LoRA", "--lora takes it"]),
                              ("control_model.input_hint_block.0.weight", ["ControlNet"]),
                              ("emb_params", ["textual inversion", "--embedding takes it"]), ("abc", ["unknown"]),
                              ("model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale", ["FLUX", "not run yet"])):
            path = write(self.folder / "x.safetensors", {tensor: ("F32", [2, 2], bytes(16))})
            self.bad(*words, model=path)
            self.bad("--unet", *words, model=SINGLE, extra=["--unet", path])

    def test_missing_and_mixed_parts(self):
        tensors = raw_tensors(SINGLE)
        for part, prefix, option in (("text encoder", "cond_stage_model.", "--text-encoder"), ("VAE", "first_stage_model.", "--vae")):
            path = write(self.folder / "part.safetensors", {n: t for n, t in tensors.items() if not n.startswith(prefix)})
            self.bad(part, f"{option} FILE", model=path)
            self.assertNotEqual(self.generate("a boat", "--model", path, "--tokenizer", TOKENIZER, *SIZE, option, SINGLE), [])
            for picture in self.out.iterdir():
                picture.unlink()
        # One tensor less is no smaller network.
        for name in ("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight",
                     "model.diffusion_model.middle_block.0.in_layers.2.weight", "first_stage_model.decoder.mid.attn_1.q.weight",
                     "first_stage_model.encoder.down.1.block.0.conv1.weight", TEXT + "encoder.layers.1.mlp.fc1.weight",
                     "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.attn1.to_q.weight"):
            self.assertIn(name, tensors)
            path = write(self.folder / "less.safetensors", {n: t for n, t in tensors.items() if n != name})
            with self.subTest(name):
                self.bad("less.safetensors", "tensor '", model=path)
        self.bad("config.json", "--model takes it", model=SINGLE, extra=["--unet", GOLDENS / "a"], status=1)
        mixed = {n: t for n, t in tensors.items() if not n.startswith("cond_stage_model.")}
        mixed["joint_blocks.0.context_block.adaLN_modulation.1.weight"] = ("F32", [1], bytes(4))
        self.bad("mixed", "Stable Diffusion 3", model=write(self.folder / "m.safetensors", mixed),
                 extra=["--vae", SINGLE], status=1)

    def test_lying_gguf(self):
        good = checkpoints.gguf(raw_tensors(SINGLE))
        for name, content in (("cut", good[:-1000]), ("count", good[:8] + struct.pack("<Q", 1 << 60) + good[16:]),
                              ("keys", good[:16] + struct.pack("<Q", 1 << 60) + good[24:]), ("version", good[:4] + b"\x09" + good[5:]),
                              ("type", checkpoints.gguf({"a": (250, [2], bytes(8))})),
                              ("iq2", checkpoints.gguf({"a": (16, [256], bytes(66))}))):
            path = self.folder / f"{name}.gguf"
            path.write_bytes(content)
            self.bad(f"{name}.gguf", "GGUF", model=path)

    def test_conversions(self):
        def bad(status, *words, args):
            self.check_refusal(run("convert", *args), status, words)
            self.assertEqual([p.name for p in self.folder.iterdir() if p.name.startswith((".", "o"))], [])

        out = self.folder / "o.safetensors"
        bad(2, "OUTPUT", args=[SINGLE])
        bad(2, ".ckpt", args=[SINGLE, self.folder / "o.ckpt"])
        bad(2, "q4_0", ".gguf", args=[SINGLE, out, "--dtype", "q4_0"])
        bad(2, "q9", args=[SINGLE, out, "--dtype", "q9"])
        bad(2, "--names", args=[SINGLE, out, "--names", "mine"])
        bad(2, "--names diffusers", args=[SINGLE, out, "--names", "diffusers"])
        bad(2, "--component", args=[SINGLE, out, "--component", "brain"])
        bad(2, "--max-shard-size", args=[SINGLE, out, "--max-shard-size", "big"])
        bad(2, "--weights", args=[SINGLE, SINGLE, out])
        bad(2, "--weights", args=[SINGLE, SINGLE, out, "--weights", "1"])
        bad(2, "--add-difference", args=[SINGLE, SINGLE, out, "--add-difference", "1"])
        alone = self.folder / "alone.safetensors"
        shutil.copy(SINGLE, alone)
        bad(2, "--tokenizer", args=[alone, self.folder / "of"])
        bad(1, "nothing", args=[self.folder / "missing.safetensors", out])
        bad(1, "cannot be", args=[SINGLE, self.folder / "no" / "o.safetensors"])
        large = write(self.folder / "large.safetensors", {"w": ("F32", [2], struct.pack("<2f", 1, 70000))})
        bad(2, "'w'", "70000", args=[large, out, "--dtype", "fp16"])
        strange = write(self.folder / "nan.safetensors", {"w": ("F32", [8, 32], struct.pack("<256f", *[float("nan")] * 256))})
        bad(2, "'w'", "nan", args=[strange, self.folder / "o.gguf", "--dtype", "q8_0"])
        other = write(self.folder / "a.safetensors", {"v": ("F32", [2], bytes(8))})
        bad(1, "'w'", args=[large, other, out, "--weights", "1,1"])
        self.convert_over(large)

    def convert_over(self, existing):
        """What is there stays."""
        before = existing.read_bytes()
        self.check_refusal(run("convert", SINGLE, existing), 1, ["OUTPUT"])
        self.assertEqual(existing.read_bytes(), before)

    def test_disk_full(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

        for target in ("o.safetensors", "o.gguf", "of"):
            done = run("convert", SINGLE, self.folder / target, "--tokenizer", TOKENIZER, preexec=limit)
            self.check_refusal(done, 1, [])
            self.assertEqual(list(self.folder.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
