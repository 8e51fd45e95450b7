"""easel bench: what it measures is complete and consistent; speed itself is no subject of a test."""
import json
import unittest

from harness import MODEL, Case, run

TINY = ["--model", MODEL, "--width", "40", "--height", "24", "--dtype", "fp32", "--threads", "1", "--quiet"]


class Bench(Case):
    def bench(self, *args):
        done = run("bench", *TINY, *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_every_phase_of_every_round_is_reported(self):
        report = json.loads(self.bench("--json", "--rounds", "3", "--steps", "2", "--batch-size", "2"))
        self.assertEqual((report["width"], report["height"], report["batch_size"]), (40, 24, 2))
        self.assertEqual(report["dtype"], {"text_encoder": "fp32", "unet": "fp32", "vae": "fp32"})
        seconds = report["seconds"]
        for phase, runs in (("text_encode", 3), ("step", 6), ("decode", 3)):
            values = seconds[phase]["runs"]
            self.assertEqual(len(values), runs, phase)
            self.assertTrue(all(v > 0 for v in values), values)
            self.assertEqual(seconds[phase]["best"], min(values))
            self.assertTrue(min(values) <= seconds[phase]["median"] <= max(values))
        self.assertGreater(seconds["load"], 0)
        self.assertGreater(seconds["compile"], 0)
        # The first step begins after loading; the process's start is known to 10 ms.
        self.assertGreater(seconds["start_to_first_step"], seconds["load"] - 0.02)
        self.assertAlmostEqual(seconds["twenty_steps"], seconds["text_encode"]["best"] + 20 * seconds["step"]["best"]
                               + seconds["decode"]["best"], places=9)
        self.assertGreater(report["peak_memory_bytes"], 1 << 20)
        self.assertNotIn("profile", report)

    def test_the_table_names_every_phase(self):
        text = self.bench("--rounds", "1", "--guidance-scale", "1")
        for word in ("load", "compile", "text encode", "one prompt", "UNet step", "VAE decode", "20 steps", "peak memory"):
            self.assertIn(word, text)
        self.assertNotIn("time by class", text)

    def test_the_profile_accounts_for_everything(self):
        trace_file = self.folder / "trace.json"
        report = json.loads(self.bench("--json", "--rounds", "1", "--steps", "3", "--profile", trace_file))
        profile = report["profile"]
        for component in ("text_encoder", "unet", "vae"):
            self.assertTrue([layer for layer in profile["layers"] if layer["component"] == component], component)
        classes = {c["class"] for c in profile["classes"] if c["component"] == "unet"}
        self.assertLessEqual({"linear", "conv 1x1", "conv 3x3", "attention", "norm"}, classes)
        for entry in {(c["component"], c["entry"]) for c in profile["classes"]}:
            parts = [c for c in profile["classes"] if (c["component"], c["entry"]) == entry]
            layers = [x for x in profile["layers"] if (x["component"], x["entry"]) == entry]
            self.assertAlmostEqual(sum(c["share"] for c in parts), 1, places=9)
            self.assertEqual(sum(c["layers"] for c in parts), len(layers))
            self.assertAlmostEqual(sum(c["flops"] for c in parts), sum(x["flops"] for x in layers))
        # 5×3 latents of four channels, both branches: the count is that of the shapes.
        first = next(x for x in profile["layers"] if x["component"] == "unet" and x["layer"] == "conv_in")
        sizes = [json.loads("[" + part.split("]")[0] + "]") for part in first["shapes"].split("[")[1:]]
        image, weight, output = sizes[0], sizes[1], sizes[-1]
        self.assertEqual(image, [2, 3, 5, 4])
        self.assertEqual(first["flops"], 2 * 2 * 3 * 5 * weight[0] * weight[1] * 9)
        self.assertEqual(output, [2, 3, 5, weight[0]])
        self.assertEqual(first["launches"], 3)

        events = json.loads(trace_file.read_text())["traceEvents"]
        launches = [e for e in events if e["ph"] == "X"]
        self.assertEqual(len(launches), sum(layer["launches"] for layer in profile["layers"]))
        self.assertEqual({e["args"]["name"] for e in events if e["ph"] == "M"}, {"text_encoder", "unet", "vae"})
        end = 0.0
        for event in launches:  # one after the other, in the order of time
            self.assertGreaterEqual(event["ts"], end - 0.01)
            self.assertGreaterEqual(event["dur"], 0)
            end = event["ts"] + event["dur"]

    def test_a_profile_without_a_file_prints_tables(self):
        text = self.bench("--rounds", "1", "--profile")
        self.assertIn("unet, entry step", text)
        self.assertIn("time by class", text)
        self.assertIn("down_blocks.0.resnets.0.conv1", text)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_wrong_use_is_one_line(self):
        for args, words in ((["--rounds", "0"], ["--rounds", "1 to"]), (["--steps", "x"], ["--steps", '"x"']),
                            (["--width", "41"], ["--width", "more than once"]), (["second"], ["--model", "second"]),
                            (["--seed", "1"], ["--seed", "no such option"])):
            with self.subTest(args=args):
                self.check_refusal(run("bench", *TINY, *args), 2, words)
        self.check_refusal(run("bench", *TINY, "--profile", self.folder / "missing" / "t.json"), 1, ["--profile", "missing"])


class InspectPlans(Case):
    def test_configurations_are_enough_for_a_plan(self):
        whole = json.loads(run("inspect", MODEL, "--json", "--dtype", "fp32").stdout)
        copy = self.copy_of_model()
        for weights in copy.rglob("*.safetensors"):
            weights.unlink()
        bare = run("inspect", copy, "--json", "--dtype", "fp32", "--kernels")
        self.assertEqual(bare.returncode, 0, bare.stderr)
        bare = json.loads(bare.stdout)
        self.assertEqual(bare["peak_memory_bytes"], whole["peak_memory_bytes"])
        for one, other in zip(bare["components"], whole["components"], strict=True):
            self.assertEqual(one["kernels"], other["kernels"])
            self.assertEqual(one["weight_bytes"], other["weight_bytes"])
            self.assertEqual(one["stored_dtypes"], {})
            launches = sum(count for call in one["calls"] for count in call["launches"].values())
            self.assertEqual(launches, one["commands"])
            for call in one["calls"]:
                for row in call["launches"]:
                    self.assertIn(row, bare["kernel_rows"][call["operator"].split(" ")[0]])
        self.assertIn("no weights here", run("inspect", copy).stdout)
        self.refused(1, "no weights", args=["a boat", "--model", copy])
        # What runs needs them.
        self.check_refusal(run("bench", copy, "--quiet"), 1, ["no weights"])


if __name__ == "__main__":
    unittest.main()
