"""Control networks: every case of tests/goldens/control against diffusers, and the command around them."""
import json
import shutil
import struct
import sys
import unittest

from harness import (GOLDENS, MODEL, Case, edit_safetensors, png_pixels, png_text, read_safetensors, relative_l2, run,
                     write_raw_safetensors)
from test_jobs import JOBS, model_with

CONTROL = GOLDENS.parent / "control"
INDEX = json.loads((CONTROL / "index.json").read_text())
BOUNDS = INDEX["bounds"]
EDGES = CONTROL / "edges.png"
FAST = ["--model", MODEL, "--steps", "2", "--seed", "1", "--dtype", "fp32", "--width", "56", "--height", "40", "--quiet"]
NET = ["--control-net", CONTROL / "edges", "--control-image", EDGES]
WEIGHTS = "diffusion_pytorch_model.safetensors"


def net_with(folder, name, fields):
    """The net with other fields in its config.json."""
    if not fields:
        return CONTROL / name
    target = folder / f"{name}-{'-'.join(fields)}"
    if not target.exists():
        shutil.copytree(CONTROL / name, target)
        config = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps(config | fields))
    return target


def original_file(path, prefix=True, more=None):
    """The net `edges` in the names of the original program."""
    names = dict(line.split("\t") for line in (CONTROL / "original_names.tsv").read_text().splitlines())
    shutil.copy(CONTROL / "edges" / WEIGHTS, path)

    def rename(header, data):
        out = {(names[k] if prefix else names[k].removeprefix("control_model.")): v for k, v in header.items()
               if k != "__metadata__"}
        return out | (more or {}), data

    edit_safetensors(path, rename)
    return path


class Goldens(Case):
    def run_case(self, case, nets):
        name = case["name"]
        model = model_with(self.folder / name, case["channels"], case.get("scheduler_config"),
                           (GOLDENS.parent if "/" in case["model"] else GOLDENS) / case["model"])
        trace, out = self.folder / f"{name}.safetensors", self.folder / f"out-{name}"
        args = [str(nets[int(a[1:])]) if a.startswith("%") else str(JOBS / a[2:]) if a.startswith("@@")
                else str(CONTROL / a[1:]) if a.startswith("@") else a for a in case["args"]]
        done = run("generate", *args, "--model", model, "--trace", trace, "--out-dir", out, "--quiet")
        self.assertEqual(done.returncode, 0, f"{name}: {done.stderr}")
        return read_safetensors(trace)

    def errors(self, case, found):
        expected = read_safetensors(CONTROL / f"{case['name']}.safetensors")
        ours = sorted((k for k in found if k.startswith("latents.")), key=lambda k: int(k[8:]))
        # diffusers calls half a step of a second-order method a step.
        halves = case.get("scheduler_config", {}).get("_class_name", "").startswith("Heun")
        self.assertEqual(len(ours), (case["iterations"] + 1) // 2 if halves else case["iterations"], case["name"])
        out = {"latents": relative_l2(found[ours[-1]], expected[f"latents.{case['iterations'] - 1}"])}
        if "decoded" in expected:
            out["decoded"] = relative_l2(found["decoded"], expected["decoded"])
        return out

    def test_every_case(self):
        self.assertGreater(len(INDEX["cases"]), 20)
        for case in INDEX["cases"]:
            with self.subTest(case["name"]):
                nets = [net_with(self.folder, name, fields) for name, fields in case["nets"]]
                errors = self.errors(case, self.run_case(case, nets))
                print(f"{case['name']:20}", "  ".join(f"{k} {v:.1e}" for k, v in errors.items()), file=sys.stderr)
                for kind, error in errors.items():
                    self.assertLessEqual(error, BOUNDS[kind], f"{case['name']}: {kind}")

    def test_files_of_the_original_program(self):
        case = next(c for c in INDEX["cases"] if c["name"] == "one")
        alone = self.folder / "alone.safetensors"
        shutil.copy(CONTROL / "edges" / WEIGHTS, alone)  # diffusers' names, no configuration beside it
        for path in (original_file(self.folder / "cldm.safetensors"),
                     original_file(self.folder / "bare.safetensors", prefix=False), alone):
            with self.subTest(path.name):
                model = self.folder / "one"
                shutil.rmtree(model, ignore_errors=True)
                for kind, error in self.errors(case, self.run_case(case, [path])).items():
                    self.assertLessEqual(error, BOUNDS[kind], kind)

    def test_original_adapters(self):
        for name, case in (("full", "adapter"), ("light", "adapter_light"), ("full_xl", "adapter_xl")):
            with self.subTest(name):
                path = self.folder / f"{name}.safetensors"
                shutil.copy(CONTROL / name / WEIGHTS, path)

                def rename(header, data, light=name == "light"):
                    def original(key):
                        if not key.startswith("adapter.body."):
                            return key.removeprefix("adapter.")
                        level, rest = key.removeprefix("adapter.body.").split(".", 1)
                        if not rest.startswith("resnets."):
                            return f"body.{int(level) * (1 if light else 2)}.{rest}"
                        index, rest = rest.removeprefix("resnets.").split(".", 1)
                        return f"body.{level}.body.{index}.{rest}" if light else f"body.{int(level) * 2 + int(index)}.{rest}"
                    return {original(k): v for k, v in header.items() if k != "__metadata__"}, data

                edit_safetensors(path, rename)
                case = next(c for c in INDEX["cases"] if c["name"] == case)
                for kind, error in self.errors(case, self.run_case(case, [path])).items():
                    self.assertLessEqual(error, BOUNDS[kind], kind)

    def test_a_broken_net_is_seen(self):
        """The comparison can fail: one zero convolution 2% off breaks the bound."""
        case = next(c for c in INDEX["cases"] if c["name"] == "one")
        net = self.folder / "net"
        shutil.copytree(CONTROL / "edges", net)

        def scale(header, data):
            begin, end = header["controlnet_mid_block.weight"]["data_offsets"]
            values = struct.unpack(f"<{(end - begin) // 2}e", data[begin:end])
            data[begin:end] = struct.pack(f"<{len(values)}e", *(v * 1.02 for v in values))
            return header, data

        edit_safetensors(net / WEIGHTS, scale)
        self.assertGreater(self.errors(case, self.run_case(case, [net]))["latents"], BOUNDS["latents"])


class Meaning(Case):
    def picture(self, *args):
        (path,) = self.generate("a cat", *FAST, *args)
        return png_pixels(path)

    def test_without_strength_nothing_changes(self):
        plain = self.picture()
        self.assertNotEqual(plain, self.picture(*NET))
        self.assertEqual(plain, self.picture(*NET, "--control-scale", "0"))
        zeros = ",".join("0" for _ in range(5))
        self.assertEqual(plain, self.picture(*NET, "--control-block-scales", zeros))

    def test_block_scales(self):
        once = self.picture(*NET, "--control-scale", "0.5")
        self.assertEqual(once, self.picture(*NET, "--control-block-scales", ",".join(["0.5"] * 5)))
        self.assertNotEqual(once, self.picture(*NET, "--control-block-scales", "0.5,0.5,0.5,0.5,0.4"))

    def test_two_nets_in_either_order_and_a_part_of_the_steps(self):
        other = ["--control-net", CONTROL / "depth", "--control-image", CONTROL / "depth.png"]
        both = self.picture(*NET, *other, "--control-scale", "0.8", "--control-scale", "0.6")
        self.assertNotEqual(both, self.picture(*NET, "--control-scale", "0.8"))
        # One that never acts leaves the other's bits alone.
        one = self.picture(*NET, "--control-scale", "0.8")
        self.assertEqual(one, self.picture(*NET, *other, "--control-scale", "0.8", "--control-scale", "0"))
        self.assertEqual(one, self.picture(*other, *NET, "--control-scale", "0", "--control-scale", "0.8"))

    def test_memory_and_threads_change_no_bit(self):
        args = ["--num-images-per-prompt", "3", *NET, "--control-guess-mode", "--guidance-scale", "4"]
        def pictures(*more):
            return [png_pixels(path) for path in self.generate("a cat", *FAST, *args, *more)]
        plain = pictures()
        for more in (["--batch-size", "2"], ["--offload"], ["--threads", "1"], ["--batch-size", "1", "--offload"]):
            self.assertEqual(plain, pictures(*more), more)

    def test_guidance_of_other_kinds(self):
        seen = {self.picture(*NET, *more) for more in
                ([], ["--pag-scale", "2"], ["--middle-prompt", "a dog", "--middle-guidance-scale", "2"],
                 ["--pag-scale", "2", "--control-guess-mode"], ["--freeu", "default"],
                 ["--guidance-start", "0.6"], ["--hires-scale", "1.4"])}
        self.assertEqual(len(seen), 7)

    def test_an_adapter_beside_a_net(self):
        adapter = ["--control-net", CONTROL / "gray", "--control-image", CONTROL / "depth.png"]
        net, both = self.picture(*NET), self.picture(*NET, *adapter)
        self.assertNotEqual(net, both)
        self.assertNotEqual(self.picture(*adapter), both)
        self.assertEqual(both, self.picture(*adapter, *NET))
        self.assertEqual(net, self.picture(*NET, *adapter, "--control-scale", "1", "--control-scale", "0"))
        self.assertNotEqual(self.picture(*adapter), self.picture(*adapter, "--control-end", "0.5"))

    def test_preprocess(self):
        source = JOBS / "picture.png"
        done = run("preprocess", "canny", source, "--out-dir", self.folder / "p")
        self.assertEqual(done.returncode, 0, done.stderr)
        made = done.stdout.strip()
        net = ["--control-net", CONTROL / "edges"]
        self.assertEqual(self.picture(*net, "--control-image", made),
                         self.picture(*net, "--control-image", source, "--control-preprocess", "canny"))

    def test_names_are_looked_up(self):
        models = self.folder / "models"
        models.mkdir()
        original_file(models / "edges.safetensors")
        args = ["--control-net", "edges", "--control-image", EDGES]
        self.assertEqual(self.picture(*NET), self.picture(*args, "--model-dir", models))
        (path,) = self.generate("a cat", *FAST, *args, env={"EASEL_MODELS": str(models)})
        self.assertEqual(self.picture(*NET), png_pixels(path))


class Metadata(Case):
    def test_from_image_and_resume(self):
        image = self.folder / "edges.png"
        shutil.copy(EDGES, image)
        args = ["a cat", *FAST, "--control-net", CONTROL / "edges", "--control-image", image, "--control-scale", "0.7",
                "--control-end", "0.5", "--control-preprocess", "canny"]
        (path,) = self.generate(*args)
        text = png_text(path)
        self.assertIn('ControlNet 0: "Module: canny, Model: edges, Weight: 0.7', text["parameters"])
        self.assertEqual(json.loads(text["easel"])["control_scale"], [0.7])
        (again,) = self.generate("--from-image", path, "--quiet")
        self.assertEqual(png_pixels(path), png_pixels(again))
        (other,) = self.generate("--from-image", path, "--quiet", "--control-scale", "0.1")
        self.assertNotEqual(png_pixels(path), png_pixels(other))
        done = run("generate", *args, "--out-dir", self.out, "--resume")
        self.assertEqual((done.returncode, done.stdout.strip()), (0, str(path)), done.stderr)
        shutil.copy(CONTROL / "depth.png", image)
        done = run("generate", "--from-image", path, "--out-dir", self.out)
        self.assertIn("not what it was", done.stderr)
        image.unlink()
        done = run("generate", "--from-image", path, "--out-dir", self.folder / "none")
        self.check_refusal(done, 1, ["which is not there", "--control-image"])


class RandomNets(Case):
    def test_make_random(self):
        """A net of any configuration in both layouts, with the same weights."""
        pictures = []
        for more in ([], ["--single-file"]):
            out = self.folder / f"net{len(more)}"
            done = run("make-random", CONTROL / "edges", out, "--seed", "3", *more)
            self.assertEqual(done.returncode, 0, done.stderr)
            (path,) = self.generate("a cat", *FAST, "--control-net", done.stdout.strip(), "--control-image", EDGES)
            pictures.append(png_pixels(path))
        self.assertEqual(*pictures)
        done = run("inspect", self.folder / "net1" / "model.safetensors", "--no-hash")
        self.assertIn("ControlNet for Stable Diffusion 1.x", done.stdout)


class BadInput(Case):
    def bad(self, status, words, *args):
        self.refused(status, *words, args=["a", *FAST, *args])

    def test_options_that_do_not_go_together(self):
        self.bad(2, ["--control-image", "expected with --control-net"], "--control-image", EDGES)
        self.bad(2, ["--control-guess-mode"], "--control-guess-mode")
        self.bad(2, ["--control-image", "expected 1", "found 0"], "--control-net", CONTROL / "edges")
        self.bad(2, ["--control-image", "found 2"], *NET, "--control-image", EDGES)
        self.bad(2, ["--control-scale", "found 2"], *NET, "--control-scale", "1", "--control-scale", "1")
        self.bad(2, ["--control-scale", "expected a number"], *NET, "--control-scale", "much")
        self.bad(2, ["--control-start", "0.7 and 0.3"], *NET, "--control-start", "0.7", "--control-end", "0.3")
        self.bad(2, ["--control-end", "1.5"], *NET, "--control-end", "1.5")
        self.bad(2, ["--control-start", "-1"], *NET, "--control-start=-1")
        self.bad(2, ["--control-block-scales", "expected 5 numbers", "found 2"], *NET, "--control-block-scales", "1,2")
        self.bad(2, ["--control-block-scales", "x"], *NET, "--control-block-scales", "1,x,1,1,1")
        self.bad(2, ["--control-preprocess", "pose"], *NET, "--control-preprocess", "pose")

    def test_files_that_are_none(self):
        self.bad(1, ["--control-net", "no such folder or file"], "--control-net", "nowhere", "--control-image", EDGES)
        self.bad(1, ["--control-image", "nothing.png"], "--control-net", CONTROL / "edges", "--control-image", "nothing.png")
        def net(status, words, path):
            self.bad(status, ["--control-net", *words], "--control-net", path, "--control-image", EDGES)
        net(1, ["Stable Diffusion XL", "the model's Stable Diffusion 1.x"], CONTROL / "xl")
        net(1, ["Stable Diffusion 2.x"], CONTROL / "sd2")
        net(1, ["T2I-Adapter", "8 channels at 1/8", "24 channels at 1/8"], CONTROL / "full")
        net(1, ["whole model"], MODEL)
        net(1, ["expected a ControlNet", "UNet"], MODEL / "unet")
        net(1, ["expected a ControlNet", "found VAE"], MODEL / "vae" / WEIGHTS)
        net(1, ["LoRA"], GOLDENS.parent / "lora" / "kohya.safetensors")
        one = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
        net(1, ["ControlNet LoRA", "not run yet"],
            original_file(self.folder / "lora.safetensors", more={"lora_controlnet": one}))
        net(1, ["difference"], original_file(self.folder / "diff.safetensors", more={"difference": one}))
        cut = self.folder / "cut.safetensors"
        cut.write_bytes((CONTROL / "edges" / WEIGHTS).read_bytes()[:-100])
        net(1, ["cut.safetensors"], cut)
        empty = self.folder / "empty.safetensors"
        write_raw_safetensors(empty, {}, b"")
        net(1, ["no tensors"], empty)

        def without(header, data):
            header["something"] = header.pop("controlnet_down_blocks.1.weight")
            return header, data

        missing = self.folder / "missing"
        shutil.copytree(CONTROL / "edges", missing)
        edit_safetensors(missing / WEIGHTS, without)
        net(1, ["controlnet_down_blocks.1.weight"], missing)

    def test_a_control_net_is_no_model(self):
        for path in (CONTROL / "edges", original_file(self.folder / "c.safetensors")):
            done = run("generate", "a", "--model", path, "--out-dir", self.out)
            self.assertEqual(done.returncode, 1)
            self.assertIn("ControlNet", done.stderr)


if __name__ == "__main__":
    unittest.main()
