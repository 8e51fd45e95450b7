"""Every picture case of tests/goldens/sd15 through the command, against what diffusers computed."""
import struct
import unittest

from golden_cases import GoldenCase
from harness import GOLDENS, edit_safetensors


class Goldens(GoldenCase):
    goldens = GOLDENS

    def test_every_case(self):
        self.assertGreater(len(self.cases), 40)
        for case in self.cases:
            with self.subTest(case["name"]):
                self.check(case, self.trace(case))

    def test_a_broken_weight_is_seen(self):
        """The comparison can fail: one weight matrix of each part 2% off breaks that part's bound."""
        case = next(c for c in self.cases if c["name"] == "pndm")
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
