"""What `easel generate` promises beyond numbers: files, names, metadata, repeatability, interruption."""
import json
import pathlib
import shutil
import signal
import subprocess
import time
import unittest
from xml.etree import ElementTree

from harness import (EASEL, GOLDENS, MODEL, TINY, Case, drop_text_chunk, png_pixels, png_size, png_text,
                     read_safetensors, run)

PROMPT = "a red balloon over grüne Hügel 🎈"


class Files(Case):
    def test_nothing_is_overwritten(self):
        first = self.generate(PROMPT, *TINY, "--seed", "1")
        second = self.generate(PROMPT, *TINY, "--seed", "2", "--num-images-per-prompt", "2")
        self.assertEqual([p.name for p in first + second],
                         ["img_000_steps2.png", "img_001_steps2.png", "img_002_steps2.png"])
        (self.out / "img_041_steps9_latents.safetensors").write_text("kept")
        third = self.generate(PROMPT, *[a if a != "2" else "3" for a in TINY], "--seed", "3")
        self.assertEqual([p.name for p in third], ["img_042_steps3.png"])
        self.assertEqual(png_size(first[0]), (40, 24))

    def test_default_folder_and_quiet_pipe(self):
        done = run("generate", PROMPT, *TINY, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "outputs/img_000_steps2.png\n")
        self.assertRegex(done.stderr, r"^easel: seed \d+\n$")  # no progress bar in a pipe
        done = run("generate", PROMPT, *TINY, "--quiet", cwd=self.folder)
        self.assertEqual((done.stdout, done.stderr), ("outputs/img_001_steps2.png\n", ""))

    def test_prompt_file_latents_and_grid(self):
        prompts = self.folder / "prompts.txt"
        prompts.write_bytes("\ufeffa boat\r\n\n  # a comment\nein Häuschen\n".encode())
        paths = self.generate("--prompt-file", prompts, *TINY, "--seed", "5", "--num-images-per-prompt", "2",
                              "--save-latents", "--save-grid")
        pictures = paths[:4]
        self.assertEqual([p.name for p in paths], [f"img_00{i}_steps2.png" for i in range(4)] + ["grid_000_steps2.png"])
        self.assertEqual(png_size(paths[4]), (80, 48))
        recipes = [json.loads(png_text(p)["easel"]) for p in pictures]
        self.assertEqual([r["prompt"] for r in recipes], ["a boat"] * 2 + ["ein Häuschen"] * 2)
        self.assertEqual([r["index"] for r in recipes], [0, 1, 0, 1])
        for p in pictures:
            latents = read_safetensors(str(p)[:-4] + "_latents.safetensors")
            self.assertEqual(latents["latents"][0], [1, 4, 3, 5])
        # A prompt of a file gives what it gives alone.
        self.out = self.folder / "alone"
        alone = self.generate("ein Häuschen", *TINY, "--seed", "5", "--num-images-per-prompt", "2")
        self.assertEqual([p.read_bytes() for p in alone], [p.read_bytes() for p in pictures[2:]])

    def test_models_by_name(self):
        args = [a for a in TINY if a not in ("--model", MODEL)]
        for env, extra in (({}, ["--model-dir", GOLDENS]), ({"EASEL_MODELS": f"/nonexistent:{GOLDENS}"}, [])):
            self.generate(PROMPT, "--model", "a", *args, "--seed", "1", *extra, env=env)
        data = self.folder / "data/easel/models"
        data.mkdir(parents=True)
        (data / "mine").symlink_to(MODEL)
        self.generate(PROMPT, "--model", "mine", *args, "--seed", "1", env={"XDG_DATA_HOME": self.folder / "data"})


class Recipe(Case):
    def remade(self, picture, *args):
        self.out = self.folder / "again"
        paths = self.generate("--from-image", picture, *args)
        self.assertEqual(len(paths), 1)
        return paths[0]

    def test_every_setting_comes_back(self):
        picture = self.generate(PROMPT, "--negative-prompt", 'blurry: "no", \\ 霧', *TINY, "--seed", "18446744073709551615",
                                "--sampler", "ddim", "--eta", "0.7", "--guidance-scale", "3.3",
                                "--scheduler", "trailing")[0]
        self.assertEqual(self.remade(picture).read_bytes(), picture.read_bytes())

    def test_one_of_several_with_step_noise(self):
        pictures = self.generate(PROMPT, *TINY, "--seed", "7", "--num-images-per-prompt", "3", "--sampler", "euler_a")
        self.assertEqual(self.remade(pictures[1]).read_bytes(), pictures[1].read_bytes())

    def test_rules_of_sampling_come_back(self):
        for i, args in enumerate((
                ["--sampler", "dpmpp_2m_sde", "--scheduler", "sgm_uniform", "--rng", "a1111", "--eta-noise-seed-delta", "31337"],
                ["--sampler", "k_heun", "--scheduler", "kl_optimal", "--s-churn", "1", "--s-noise", "1.1", "--rng", "cuda"],
                ["--sampler", "euler", "--sigmas", "14.6,5,1,0", "--guidance-rescale", "0.7", "--guidance-end", "0.9"],
                ["--sampler", "euler_ancestral_cfg_pp", "--guidance-scale", "0.8", "--eta", "0.5", "--rng", "comfy"])):
            with self.subTest(args=args):
                self.out = self.folder / f"first{i}"
                pictures = self.generate(PROMPT, *TINY, "--seed", "7", "--num-images-per-prompt", "2", *args)
                self.assertEqual(self.remade(pictures[1]).read_bytes(), pictures[1].read_bytes())
                shutil.rmtree(self.folder / "again")

    def test_explicit_options_override(self):
        picture = self.generate(PROMPT, *TINY, "--seed", "1")[0]
        again = self.remade(picture, "--seed", "2")
        self.assertNotEqual(png_pixels(again), png_pixels(picture))
        self.assertEqual(json.loads(png_text(again)["easel"])["seed"], 2)

    def test_a1111_text_alone(self):
        picture = self.generate("two lines\nof: text, here", "--negative-prompt", "fog", *TINY, "--seed", "9", "--sampler",
                                "dpm_solver++", "--scheduler", "karras", "--guidance-scale", "4.5")[0]
        text = png_text(picture)["parameters"]
        self.assertTrue(text.startswith("two lines\nof: text, here\nNegative prompt: fog\nSteps: 2, Sampler: DPM++ 2M, "
                                        "Schedule type: Karras, CFG scale: 4.5, Seed: 9, Size: 40x24, Model: a"), text)
        bare = self.folder / "bare.png"
        shutil.copy(picture, bare)
        drop_text_chunk(bare, "easel")
        self.assertEqual(png_pixels(self.remade(bare, "--model", MODEL, "--dtype", "fp32")), png_pixels(picture))

    def test_given_latents_are_demanded_again(self):
        latents = GOLDENS / "initial_latents_1x4x5x5.safetensors"
        args = ["--model", MODEL, "--steps", "2", "--width", "40", "--height", "40", "--dtype", "fp32", "--seed", "1"]
        picture = self.generate(PROMPT, *args, "--initial-latents", latents)[0]
        self.out = self.folder / "again"
        self.refused(2, "--initial-latents", args=["--from-image", picture])
        self.assertEqual(self.remade(picture, "--initial-latents", latents).read_bytes(), picture.read_bytes())

    def test_inspect_draws_schedules(self):
        args = ["--model", MODEL, "--schedule", "--sampler", "k_euler", "--scheduler", "karras", "--steps", "4",
                "--out-dir", self.out]
        done = run("inspect", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 7)  # a heading, five levels, the file
        self.assertEqual(lines[-1], str(self.out / "schedule_000_steps4.svg"))
        svg = ElementTree.parse(lines[-1]).getroot()
        self.assertEqual(svg.tag, "{http://www.w3.org/2000/svg}svg")
        shown = json.loads(run("inspect", *args, "--json").stdout)
        self.assertEqual(len(shown["sigmas"]), 5)
        self.assertEqual(shown["sigmas"][-1], 0)
        self.assertEqual(len(shown["timesteps"]), 4)
        self.assertTrue(shown["file"].endswith("schedule_001_steps4.svg"))

    def test_inspect_shows_it(self):
        picture = self.generate(PROMPT, *TINY, "--seed", "1")[0]
        shown = json.loads(run("inspect", picture, "--json").stdout)
        self.assertEqual(json.loads(shown["text"]["easel"])["prompt"], PROMPT)


class Sameness(Case):
    def pictures(self, name, *args, env=None):
        self.out = self.folder / name
        return [p.read_bytes() for p in self.generate(PROMPT, *TINY, "--seed", "3", *args, env=env)]

    def test_threads_and_batches_change_nothing(self):
        several = ["--num-images-per-prompt", "3", "--sampler", "euler_a"]
        one = self.pictures("t1", *several, "--threads", "1")
        self.assertEqual(len(set(one)), 3)
        for name, args in (("t2", ["--threads", "2"]), ("t5", ["--threads", "5"]), ("b1", ["--batch-size", "1"]),
                           ("b2", ["--batch-size", "2"])):
            self.assertEqual(self.pictures(name, *several, *args), one, name)

    def test_runs_agree(self):
        self.assertEqual(self.pictures("x"), self.pictures("y"))


class Report(Case):
    def test_json(self):
        done = run("generate", PROMPT, *TINY, "--seed", "3", "--num-images-per-prompt", "3", "--batch-size", "2",
                   "--threads", "2", "--json", "--out-dir", self.out)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(set(report), {"images", "seconds", "peak_memory_bytes", "device", "threads"})
        self.assertEqual([set(i) for i in report["images"]], [{"file", "seed", "steps"}] * 3)
        self.assertEqual([i["seed"] for i in report["images"]], [3] * 3)
        for image in report["images"]:
            self.assertTrue(pathlib.Path(image["file"]).is_file())
        seconds = report["seconds"]
        self.assertEqual(set(seconds), {"load", "compile", "text_encode", "steps", "decode", "total"})
        self.assertEqual(len(seconds["steps"]), 2 * 3)  # two batches of PLMS with steps + 1
        self.assertEqual(len(seconds["decode"]), 2)
        self.assertTrue(all(s >= 0 for s in seconds["steps"] + seconds["decode"]))
        self.assertGreaterEqual(seconds["total"] + 1e-6, sum(seconds["steps"]) + sum(seconds["decode"]))
        self.assertGreater(report["peak_memory_bytes"], 1 << 20)
        self.assertEqual(report["threads"], 2)
        self.assertIn("cpu", report["device"])

    def test_long_prompts_warn(self):
        done = run("generate", "balloon " * 200, *TINY, "--seed", "3", "--out-dir", self.out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("easel: warning: "), done.stderr)

    def test_other_commands(self):
        version = run("--version")
        self.assertRegex(version.stdout, r"^easel \d+\.\d+\.\d+\n$")
        devices = json.loads(run("devices", "--json").stdout)["devices"]
        self.assertEqual(devices[0]["name"], "cpu")
        self.assertIn("cpu", run("devices").stdout)
        described = run("inspect", "--model", MODEL)
        self.assertEqual(described.returncode, 0, described.stderr)
        self.assertIn("unet", described.stdout.lower())
        self.assertIsInstance(json.loads(run("inspect", MODEL, "--json").stdout), dict)
        self.assertEqual(run("inspect", MODEL, "--kernels").returncode, 0)
        listed = run("inspect", MODEL / "unet/diffusion_pytorch_model.safetensors")
        self.assertIn("conv_in.weight", listed.stdout)

    def test_help_fits_a_screen(self):
        for command in ([], ["generate"], ["inspect"], ["devices"], ["make-random"], ["upscale"], ["preprocess"]):
            done = run(*command, "--help")
            self.assertEqual(done.returncode, 0)
            lines = done.stdout.splitlines()
            self.assertLessEqual(len(lines), 40, command)
            self.assertLessEqual(max(map(len, lines)), 100, command)


class MakeRandom(Case):
    def test_both_layouts_make_the_same_picture(self):
        # Heads and groups of a single file are Stable Diffusion 1.x's, as in d.
        for name, extra in (("folder", []), ("single", ["--single-file"])):
            done = run("make-random", GOLDENS / "d", self.folder / name, "--seed", "4", "--dtype", "fp16", *extra)
            self.assertEqual(done.returncode, 0, done.stderr)
        size = ["--steps", "2", "--width", "64", "--height", "64", "--seed", "1", "--dtype", "fp32"]
        one = self.generate(PROMPT, "--model", self.folder / "folder", *size)
        two = self.generate(PROMPT, "--model", self.folder / "single/model.safetensors", "--tokenizer",
                            self.folder / "single/tokenizer", *size)
        self.assertEqual(png_pixels(one[0]), png_pixels(two[0]))
        done = run("make-random", GOLDENS / "d", self.folder / "folder")
        self.check_refusal(done, 1, ["OUT_DIR"])


class Interrupt(Case):
    def test_ends_within_a_step(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            args = [str(a) if a != "2" else "10000" for a in TINY]
            process = subprocess.Popen([EASEL, "generate", PROMPT, *args, "--seed", "1", "--out-dir", str(self.out)],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(1.0)
            self.assertIsNone(process.poll(), "it ended before it could be interrupted")
            start = time.monotonic()
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
            self.assertLess(time.monotonic() - start, 5)
            self.assertEqual((process.returncode, out), (130, ""), err)
            self.assertEqual(err, "easel: cancelled\n")
            self.assertEqual(list(self.out.iterdir()) if self.out.exists() else [], [])


if __name__ == "__main__":
    unittest.main()
