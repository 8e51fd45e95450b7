"""Cases of a folder of goldens through the command: what diffusers computed for tiny models, see tests/goldens."""
import json
import shutil
import sys

from harness import Case, read_safetensors, relative_l2, run


class GoldenCase(Case):
    """`goldens`: the folder with index.json."""
    goldens = None

    @classmethod
    def setUpClass(cls):
        index = json.loads((cls.goldens / "index.json").read_text())
        cls.cases, cls.bounds = index["cases"], index["bounds"]

    def trace(self, case, model=None, extra=()):
        """Runs a case and returns the tensors of its trace."""
        model = model or self.model_of(case)
        trace = self.folder / "trace.safetensors"
        args = ["generate", *case["args"], "--model", model, "--trace", trace, "--out-dir", self.out, "--quiet", *extra]
        if "tokenizer" in case:
            args += ["--tokenizer", self.goldens / case["tokenizer"]]
        if "unet" in case:
            args += ["--unet", self.goldens / case["unet"]]
        if "initial_latents" in case:
            args += ["--initial-latents", self.goldens / case["initial_latents"]]
        done = run(*args)
        self.assertEqual(done.returncode, 0, f"{case['name']}: {done.stderr}")
        return read_safetensors(trace)

    def model_of(self, case, model=None):
        """The case's model, or another folder of it, with the case's scheduler."""
        model = model or self.goldens / case["model"]
        if "scheduler_config" not in case:
            return model
        changed = self.folder / f"model-{case['name']}-{model.name}"
        changed.mkdir()
        for part in model.iterdir():
            if part.name != "scheduler":
                (changed / part.name).symlink_to(part)
        (changed / "scheduler").mkdir()
        shutil.copy(self.goldens / case["scheduler_config"], changed / "scheduler" / "scheduler_config.json")
        return changed

    def errors(self, case, found):
        """{name: (error, bound)} of the tensors that have a bound."""
        expected = read_safetensors(self.goldens / case["expected"])
        latents = sorted(name for name in found if name.startswith("latents."))
        self.assertEqual(len(latents), case["iterations"], f"{case['name']}: {latents}")
        last = f"latents.{case['iterations'] - 1}"
        out = {last: self.bounds["latents"]}
        for name in expected:
            if name.endswith("prompt_embeds") or name == "decoded":
                out[name] = self.bounds["decoded" if name == "decoded" else "prompt_embeds"]
        for name in out:
            self.assertIn(name, found, case["name"])
        return {name: (relative_l2(found[name], expected[name]), bound) for name, bound in out.items()}

    def check(self, case, found, label=""):
        errors = self.errors(case, found)
        shown = "  ".join(f"{name} {error:.1e}" for name, (error, _) in errors.items())
        print(f"{case['name'] + label:36} {shown}", file=sys.stderr)
        for name, (error, bound) in errors.items():
            self.assertLessEqual(error, bound, f"{case['name']}{label}: {name}")
