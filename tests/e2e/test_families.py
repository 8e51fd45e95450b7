"""Stable Diffusion 2, SDXL, the refiner, latent consistency and pruned models through the command, against diffusers."""
import json
import shutil
import unittest

from golden_cases import GoldenCase
from harness import GOLDENS, run

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


if __name__ == "__main__":
    unittest.main()
