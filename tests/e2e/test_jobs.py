"""Runs that begin from a picture: every case of tests/goldens/jobs against diffusers, and the command around them."""
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest
import zlib

from harness import (EASEL, GOLDENS, MODEL, TINY, Case, drop_text_chunk, edit_safetensors, png, png_chunks, png_pixels,
                     png_size, png_text, read_safetensors, relative_l2, rgb, run)

JOBS = GOLDENS.parent / "jobs"
IMAGES = GOLDENS.parent / "images"
INDEX = json.loads((JOBS / "index.json").read_text())
BOUNDS = INDEX["bounds"]
PICTURE, MASK = JOBS / "picture.png", JOBS / "mask.png"
FAST = ["--model", MODEL, "--steps", "2", "--seed", "1", "--dtype", "fp32", "--quiet"]


def model_with(folder, channels=4, scheduler=None, source=MODEL):
    """The model with another first convolution and another scheduler."""
    shutil.copytree(source, folder)
    if scheduler:
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    if channels != 4:
        path = folder / "unet" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": channels}))
        data = (JOBS / f"conv_in_{channels}.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        weight = data[8 + length:]

        def replace(header, body):
            begin, end = header["conv_in.weight"]["data_offsets"]
            header["conv_in.weight"]["shape"][1] = channels
            header["conv_in.weight"]["data_offsets"] = [len(body), len(body) + len(weight)]
            # What the old one leaves is filled by a tensor that nobody reads.
            header["unused"] = {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}
            return header, body + weight

        edit_safetensors(folder / "unet" / "diffusion_pytorch_model.safetensors", replace)
    return folder


class Goldens(Case):
    def test_every_case(self):
        self.assertGreater(len(INDEX["cases"]), 25)
        for case in INDEX["cases"]:
            with self.subTest(case["name"]):
                self.check(case)

    def check(self, case):
        name = case["name"]
        model = model_with(self.folder / name, case["channels"], case.get("scheduler_config"),
                           (GOLDENS.parent if "/" in case["model"] else GOLDENS) / case["model"])
        trace, out = self.folder / f"{name}.safetensors", self.folder / f"out-{name}"
        args = [str(GOLDENS.parent / a[2:]) if a.startswith("@@") else str(JOBS / a[1:]) if a.startswith("@") else a
                for a in case["args"]]
        if "--refiner" in args and "scheduler_config" in case:
            at = args.index("--refiner") + 1
            args[at] = model_with(self.folder / f"{name}-refiner", 4, case["scheduler_config"], args[at])
        if "initial_latents" in case:
            args += ["--initial-latents", JOBS / case["initial_latents"]]
        done = run("generate", *args, "--model", model, "--trace", trace, "--out-dir", out, "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        found, expected = read_safetensors(trace), read_safetensors(JOBS / f"{name}.safetensors")
        ours = sorted((k for k in found if k.startswith("latents.")), key=lambda k: int(k[8:]))
        # diffusers calls half a step of a second-order method a step.
        halves = case.get("scheduler_config", {}).get("_class_name", "").startswith(("Heun", "KDPM2"))
        self.assertEqual(len(ours), (case["iterations"] + 1) // 2 if halves else case["iterations"], name)
        last = f"latents.{case['iterations'] - 1}"
        errors = {"latents": relative_l2(found[ours[-1]], expected[last])}
        if "decoded" in expected:
            errors["decoded"] = relative_l2(found["decoded"], expected["decoded"])
        print(f"{name:28}", "  ".join(f"{k} {v:.1e}" for k, v in errors.items()), file=sys.stderr)
        for kind, error in errors.items():
            self.assertLessEqual(error, BOUNDS[kind], f"{name}: {kind}")
        if "picture" in expected:
            shape, values = expected["picture"]
            rows = rgb(done.stdout.splitlines()[0])
            flat = b"".join(rows)
            self.assertEqual(len(flat), shape[1] * shape[2] * 3, name)
            worst = max(abs(a - int(b)) for a, b in zip(flat, values))
            self.assertLessEqual(worst, 1, name)

    def test_a_broken_encoder_is_seen(self):
        """The comparison can fail: one weight matrix of the encoder 2% off breaks the bound."""
        case = next(c for c in INDEX["cases"] if c["name"] == "img2img_weak")
        model = model_with(self.folder / "broken", 4, case["scheduler_config"])

        def scale(header, data):
            name = next(n for n in header if n.endswith("encoder.conv_out.weight"))
            begin, end = header[name]["data_offsets"]
            values = struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
            data[begin:end] = struct.pack(f"<{len(values)}f", *(v * 1.02 for v in values))
            return header, data

        edit_safetensors(model / "vae" / "diffusion_pytorch_model.safetensors", scale)
        trace = self.folder / "t.safetensors"
        args = [str(JOBS / a[1:]) if a.startswith("@") else a for a in case["args"]]
        done = run("generate", *args, "--model", model, "--trace", trace, "--out-dir", self.out, "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        last = f"latents.{case['iterations'] - 1}"
        error = relative_l2(read_safetensors(trace)[last], read_safetensors(JOBS / "img2img_weak.safetensors")[last])
        self.assertGreater(error, BOUNDS["latents"])


class Inpainting(Case):
    def test_untouched_pixels_come_back(self):
        (path,) = self.generate("a cat", *FAST, "--init-image", PICTURE, "--mask", MASK)
        (_, mask), before, after = png.read(MASK), rgb(PICTURE), rgb(path)
        changed = 0
        for y, row in enumerate(mask):
            for x, value in enumerate(row):
                same = before[y][3 * x:3 * x + 3] == after[y][3 * x:3 * x + 3]
                if value == 0:
                    self.assertTrue(same, (x, y))
                else:
                    changed += not same
        self.assertGreater(changed, 300)

    def test_outpainting_keeps_the_picture(self):
        (path,) = self.generate("a cat", *FAST, "--init-image", PICTURE, "--outpaint", "8,0,16,24")
        self.assertEqual(png_size(path), (56 + 24, 40 + 24))
        before, after = rgb(PICTURE), rgb(path)
        for y in range(40):
            self.assertEqual(after[y][24:24 + 168], before[y])
        self.assertEqual(png_size(self.generate("a cat", *FAST, "--init-image", PICTURE, "--outpaint", "3")[0]), (62, 46))

    def test_the_picture_is_made_again_from_its_file(self):
        for args in (["--strength", "0.7"], ["--mask", MASK, "--mask-grow", "-1", "--mask-blur", "2", "--differential"],
                     ["--mask", MASK, "--padding-mask-crop", "5", "--width", "48", "--height", "40"],
                     ["--outpaint", "0,0,5,0"]):
            (path,) = self.generate("a cat", *FAST, "--init-image", PICTURE, *args)
            (again,) = self.generate("--from-image", path, "--quiet")
            self.assertEqual(png_pixels(again), png_pixels(path), args)
            self.assertEqual(png_text(again), png_text(path), args)

    def test_a_changed_input_is_noticed(self):
        picture = self.folder / "p.png"
        shutil.copy(PICTURE, picture)
        (path,) = self.generate("a cat", *FAST, "--init-image", picture)
        shutil.copy(MASK, picture)
        done = run("generate", "--from-image", path, "--out-dir", self.out)
        self.assertEqual(done.returncode, 0)
        self.assertIn("not what it was", done.stderr)
        picture.unlink()
        done = run("generate", "--from-image", path, "--out-dir", self.folder / "none")
        self.check_refusal(done, 1, ["--init-image", "is not there"])


class HighResFix(Case):
    SIZE = ["--width", "40", "--height", "32"]

    def test_in_pixels_it_is_image_to_image_from_the_first_picture(self):
        (small,) = self.generate("a cat", *FAST, *self.SIZE)
        (fixed,) = self.generate("a cat", *FAST, *self.SIZE, "--hires-scale", "1.4", "--hires-upscaler", "pixel",
                                 "--hires-strength", "0.5", "--hires-steps", "4")
        self.assertEqual(png_size(fixed), (56, 48))
        (image_to_image,) = self.generate("a cat", *FAST[:2], "--steps", "4", *FAST[4:], "--init-image", small,
                                          "--width", "56", "--height", "48", "--strength", "0.5")
        self.assertEqual(rgb(fixed), rgb(image_to_image))
        (again,) = self.generate("--from-image", fixed, "--quiet")
        self.assertEqual(png_pixels(again), png_pixels(fixed))

    def test_bad_options(self):
        for words, args in ((["--hires-steps", "--hires-scale"], ["--hires-steps", "3"]),
                            (["--hires-upscaler", "pixel"], ["--hires-scale", "2", "--hires-upscaler", "bicubic"]),
                            (["--hires-strength"], ["--hires-scale", "2", "--hires-strength", "2"]),
                            (["--hires-scale", "--init-image"], ["--hires-scale", "2", "--init-image", PICTURE]),
                            (["--strength"], ["--hires-scale", "2", "--hires-strength", "0.1"])):
            self.refused(2, *words, args=["a cat", *FAST, *self.SIZE, *args])

    def test_the_steps_of_both_passes_are_counted(self):
        done = run("generate", "a cat", *FAST, *self.SIZE, "--hires-scale", "2", "--json", "--out-dir", self.out,
                   "--sampler", "ddim", "--num-images-per-prompt", "2", "--batch-size", "1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(json.loads(done.stdout)["seconds"]["steps"]), 2 * 2 + 2 * 1)


class Help(Case):
    def test_the_page_fits_a_screen(self):
        for args in (["--help", "pictures"], ["-h", "pictures"]):
            done = run("generate", *args)
            self.assertEqual(done.returncode, 0)
            lines = done.stdout.splitlines()
            self.assertIn("--padding-mask-crop", done.stdout)
            self.assertLessEqual(len(lines), 40)
            self.assertLessEqual(max(map(len, lines)), 100)
        self.assertIn("Makes pictures from a prompt", run("generate", "--help", "nothing").stdout)


class Refiner(Case):
    ARGS = ["a cat", "--seed", "1", "--dtype", "fp32", "--quiet", "--width", "40", "--height", "32", "--steps", "6"]

    def test_handing_over_to_itself_changes_nothing(self):
        for sampler in ("ddim", "euler", "k_euler"):
            args = [*self.ARGS, "--model", MODEL, "--sampler", sampler]
            (whole,) = self.generate(*args)
            (both,) = self.generate(*args, "--refiner", MODEL, "--refiner-start", "0.6")
            self.assertEqual(rgb(both), rgb(whole), sampler)
            (again,) = self.generate("--from-image", both, "--quiet")
            self.assertEqual(png_pixels(again), png_pixels(both))

    def test_two_calls_are_one(self):
        args = [*self.ARGS, "--sampler", "euler"]
        other = model_with(self.folder / "other", source=GOLDENS / "b")
        (one,) = self.generate(*args, "--model", MODEL, "--refiner", other, "--refiner-start", "0.5")
        (first,) = self.generate(*args, "--model", MODEL, "--denoising-end", "0.5", "--save-latents")
        (second,) = self.generate(*args, "--model", other, "--denoising-start", "0.5", "--noisy-latents",
                                  str(first)[:-4] + "_latents.safetensors")
        self.assertEqual(rgb(second), rgb(one))
        self.assertNotEqual(rgb(one), rgb(first))

    def test_bad_options(self):
        for words, args in ((["--refiner-start", "--refiner"], ["--refiner-start", "0.5"]),
                            (["--refiner-start"], ["--refiner", MODEL, "--refiner-start", "1"]),
                            (["--refiner", "--denoising-end"], ["--refiner", MODEL, "--denoising-end", "0.5"]),
                            (["--denoising-end"], ["--denoising-end", "0.01"]),
                            (["--denoising-start"], ["--denoising-start", "1"]),
                            (["--denoising-start", "--start-step"], ["--denoising-start", "0.5", "--start-step", "1"])):
            self.refused(2, *words, args=[*self.ARGS, "--model", MODEL, *args])


class Resume(Case):
    def setUp(self):
        super().setUp()
        self.prompts = self.folder / "prompts.txt"
        self.prompts.write_text("".join(f"{p}\n" for p in ("a cat", "a boat", "a tree", "a cat", "the sea")))
        self.args = ["--prompt-file", self.prompts, *FAST, "--width", "40", "--height", "24"]

    def pictures(self):
        return {p.name: p.read_bytes() for p in self.out.glob("*.png")}

    def test_a_killed_run_goes_on(self):
        complete = self.folder / "complete"
        self.assertEqual(run("generate", *self.args, "--out-dir", complete).returncode, 0)
        process = subprocess.Popen([EASEL, "generate", *map(str, self.args), "--out-dir", str(self.out)],
                                   stdout=subprocess.PIPE, text=True, env={**os.environ, "XDG_DATA_HOME": "/nonexistent"})
        for _ in range(2):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = self.pictures()
        self.assertGreaterEqual(len(before), 2)
        self.assertEqual(len(self.generate(*self.args, "--resume")), 5)
        after = self.pictures()
        self.assertEqual({name: after[name] for name in before}, before, "what was done was done again")
        self.assertEqual(sorted(after.values()), sorted(p.read_bytes() for p in complete.glob("*.png")))
        done = run("generate", *self.args, "--resume", "--json", "--out-dir", self.out)
        result = json.loads(done.stdout)
        self.assertEqual(len(result["images"]), 5)
        self.assertEqual(result["seconds"]["steps"], [], "nothing was left to do")
        self.assertEqual(self.pictures(), after)

    def test_a_missing_picture_is_made_again_alone(self):
        args = [*self.args, "--num-images-per-prompt", "2"]
        paths = self.generate(*args)
        lost = paths[3].read_bytes()
        paths[3].unlink()
        self.generate(*args, "--resume")
        self.assertEqual(len(self.pictures()), 10)
        self.assertIn(lost, self.pictures().values())

    def test_other_options_are_another_run(self):
        self.generate(*self.args)
        self.generate(*self.args, "--guidance-scale", "3", "--resume")
        self.assertEqual(len(self.pictures()), 10)

    def test_the_random_seed_goes_on(self):
        args = [a for a in self.args if a not in ("--seed", "1")]
        self.prompts.write_text("a cat\n")
        self.generate(*args)
        self.prompts.write_text("a cat\na boat\n")
        self.generate(*args, "--resume")
        seeds = {json.loads(png_text(self.out / name)["easel"])["seed"] for name in self.pictures()}
        self.assertEqual((len(self.pictures()), len(seeds)), (2, 1))

    def test_grids_need_every_picture(self):
        self.refused(2, "--resume", "--save-grid", args=[*self.args, "--resume", "--save-grid"])


class Inputs(Case):
    def test_every_kind_of_picture(self):
        for name in ("plain.png", "plain.jpg", "progressive.jpg", "cmyk.jpg", "gray.jpg", "palette.png",
                     "sixteen_bit.png", "alpha.png", "alpha.webp", "lossy.webp", "orientation_6.jpg"):
            with self.subTest(name):
                (path,) = self.generate("a cat", *FAST, "--init-image", IMAGES / name, "--width", "16", "--height", "16",
                                        "--strength", "0.5")
                self.assertEqual(png_size(path), (16, 16))

    def test_folders(self):
        folder, masks = self.folder / "in", self.folder / "masks"
        folder.mkdir(), masks.mkdir()
        for name in ("b.png", "a.JPG", "c.webp"):
            shutil.copy(IMAGES / {"b": "plain.png", "a": "plain.jpg", "c": "lossless.webp"}[name[0]], folder / name)
        (folder / "notes.txt").write_text("no picture")
        (self.folder / "prompts.txt").write_text("a cat\na boat\n")
        paths = self.generate(*FAST, "--prompt-file", self.folder / "prompts.txt", "--init-image", folder, "--strength",
                              "0.5")
        self.assertEqual([json.loads(png_text(p)["easel"])["init_image"].rsplit("/", 1)[1] for p in paths],
                         ["a.JPG", "a.JPG", "b.png", "b.png", "c.webp", "c.webp"])
        self.assertEqual(json.loads(png_text(paths[3])["easel"])["prompt"], "a boat")
        done = run("generate", "a cat", *FAST, "--init-image", folder, "--mask", masks, "--out-dir", self.out)
        self.check_refusal(done, 1, ["--mask", "expected pictures"])
        empty = self.folder / "empty"
        empty.mkdir()
        done = run("generate", "a cat", *FAST, "--init-image", empty, "--out-dir", self.out)
        self.check_refusal(done, 1, ["--init-image", "expected pictures"])

    def test_bad_input(self):
        def bad(status, *words, args):
            self.refused(status, *words, args=["a cat", *FAST, *args])

        broken = self.folder / "broken.jpg"
        broken.write_bytes((IMAGES / "plain.jpg").read_bytes()[:600])
        cut = self.folder / "cut.png"
        cut.write_bytes(PICTURE.read_bytes()[:300])
        text = self.folder / "text.png"
        text.write_text("hello")
        black = self.folder / "black.png"
        width, height = png_size(PICTURE)
        line = b"\0" + bytes(width)

        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        black.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(line * height))
                          + chunk(b"IEND", b""))
        huge = self.folder / "huge.png"
        head = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
        huge.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
                         + chunk(b"IEND", b""))
        bad(1, "--init-image", "none.png", args=["--init-image", self.folder / "none.png"])
        bad(1, "--init-image", "JPEG", args=["--init-image", broken])
        bad(1, "--init-image", "PNG", args=["--init-image", cut])
        bad(1, "--init-image", "PNG, JPEG or WebP", args=["--init-image", text])
        bad(1, "--init-image", "30000×30000", args=["--init-image", huge])
        bad(1, "--init-image", args=["--init-image", self.folder / "x" / "y"])
        bad(2, "--mask", "56×40", "93×67", args=["--init-image", PICTURE, "--mask", JOBS / "large_mask.png"])
        bad(2, "--mask", "white", args=["--init-image", PICTURE, "--mask", black])
        bad(2, "--mask", "--init-image", args=["--mask", MASK])
        bad(1, "--mask", "JPEG", args=["--init-image", PICTURE, "--mask", broken])
        bad(2, "--strength", "0", args=["--init-image", PICTURE, "--strength", "0"])
        bad(2, "--strength", "1", args=["--init-image", PICTURE, "--strength", "1.5"])
        bad(2, "--strength", "no", args=["--init-image", PICTURE, "--strength", "0.2"])
        bad(2, "--strength", "--init-image", args=["--strength", "0.5"])
        bad(2, "--outpaint", args=["--init-image", PICTURE, "--outpaint", "1,2,3"])
        bad(2, "--outpaint", args=["--init-image", PICTURE, "--outpaint", "-3"])
        bad(2, "--mask-blur", "--mask", args=["--init-image", PICTURE, "--mask-blur", "3"])
        bad(2, "--padding-mask-crop", args=["--init-image", PICTURE, "--padding-mask-crop", "3"])

    def test_models_that_see_pictures_ask_for_them(self):
        inpaint, instruct = model_with(self.folder / "i", 9), model_with(self.folder / "p", 8)
        rest = ["--steps", "2", "--seed", "1", "--quiet"]
        self.refused(2, "--init-image", "--mask", args=["a cat", "--model", inpaint, *rest])
        self.refused(2, "--mask", args=["a cat", "--model", inpaint, "--init-image", PICTURE, *rest])
        self.refused(2, "--init-image", args=["a cat", "--model", instruct, *rest])
        self.refused(2, "without a mask", args=["a", "--model", instruct, "--init-image", PICTURE, "--mask", MASK, *rest])
        self.refused(2, "--strength", args=["a", "--model", instruct, "--init-image", PICTURE, "--strength", "1", *rest])
        for model in (inpaint, instruct):
            self.assertEqual(run("inspect", "--model", model).returncode, 0)


if __name__ == "__main__":
    unittest.main()
