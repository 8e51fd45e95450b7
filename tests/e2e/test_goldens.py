"""Every picture case of tests/goldens/sd15 through the command, against what diffusers computed."""
import json
import shutil
import struct
import sys
import unittest

from harness import GOLDENS, MODEL, Case, edit_safetensors, read_safetensors, relative_l2, run

INDEX = json.loads((GOLDENS / "index.json").read_text())
BOUNDS = INDEX["bounds"]


class Goldens(Case):
    def trace(self, case, model=None):
        """Runs a case and returns the tensors of its trace."""
        model = model or self.model_of(case)
        trace = self.folder / "trace.safetensors"
        args = ["generate", *case["args"], "--model", model, "--trace", trace, "--out-dir", self.out, "--quiet"]
        if "tokenizer" in case:
            args += ["--tokenizer", GOLDENS / case["tokenizer"]]
        if "initial_latents" in case:
            args += ["--initial-latents", GOLDENS / case["initial_latents"]]
        done = run(*args)
        self.assertEqual(done.returncode, 0, f"{case['name']}: {done.stderr}")
        return read_safetensors(trace)

    def model_of(self, case):
        model = GOLDENS / case["model"]
        if "scheduler_config" not in case:
            return model
        changed = self.folder / ("model-" + case["name"])
        changed.mkdir()
        for part in model.iterdir():
            if part.name != "scheduler":
                (changed / part.name).symlink_to(part)
        (changed / "scheduler").mkdir()
        shutil.copy(GOLDENS / case["scheduler_config"], changed / "scheduler" / "scheduler_config.json")
        return changed

    def errors(self, case, found):
        """{name: (error, bound)} of the tensors that have a bound."""
        expected = read_safetensors(GOLDENS / case["expected"])
        latents = sorted(name for name in found if name.startswith("latents."))
        self.assertEqual(len(latents), case["iterations"], f"{case['name']}: {latents}")
        last = f"latents.{case['iterations'] - 1}"
        out = {last: BOUNDS["latents"]}
        for name, kind in (("prompt_embeds", "prompt_embeds"), ("negative_prompt_embeds", "prompt_embeds"),
                           ("decoded", "decoded")):
            if name in expected:
                out[name] = BOUNDS[kind]
        for name in out:
            self.assertIn(name, found, case["name"])
        return {name: (relative_l2(found[name], expected[name]), bound) for name, bound in out.items()}

    def test_every_case(self):
        self.assertGreater(len(INDEX["cases"]), 40)
        for case in INDEX["cases"]:
            with self.subTest(case["name"]):
                errors = self.errors(case, self.trace(case))
                shown = "  ".join(f"{name} {error:.1e}" for name, (error, _) in errors.items())
                print(f"{case['name']:36} {shown}", file=sys.stderr)
                for name, (error, bound) in errors.items():
                    self.assertLessEqual(error, bound, f"{case['name']}: {name}")

    def test_a_broken_weight_is_seen(self):
        """The comparison can fail: one weight matrix of each part 2% off breaks that part's bound."""
        case = next(c for c in INDEX["cases"] if c["name"] == "pndm")
        for part, file, weight, breaks in (
                ("text_encoder", "model.safetensors", "layers.1.mlp.fc2.weight", "prompt_embeds"),
                ("unet", "diffusion_pytorch_model.safetensors", "mid_block.resnets.0.conv1.weight", "latents.4"),
                ("vae", "diffusion_pytorch_model.safetensors", "decoder.conv_out.weight", "decoded")):
            with self.subTest(part):
                model = self.copy_of_model("broken-" + part)

                def scale(header, data):
                    name = next(n for n in header if n.endswith(weight))
                    begin, end = header[name]["data_offsets"]
                    count = (end - begin) // 4
                    values = struct.unpack(f"<{count}f", data[begin:end])
                    data[begin:end] = struct.pack(f"<{count}f", *(v * 1.02 for v in values))
                    return header, data

                edit_safetensors(model / part / file, scale)
                error, bound = self.errors(case, self.trace(case, model))[breaks]
                self.assertGreater(error, bound)


if __name__ == "__main__":
    unittest.main()
