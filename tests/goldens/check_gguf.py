"""Reads GGUF files that easel wrote with the gguf package: names, shapes, and every value bit for bit as easel itself
decodes them. Needs `pip install gguf safetensors numpy`, and a model in one of the forms that easel converts.

    python3 tests/goldens/check_gguf.py build/bin/easel tests/goldens/sd15/d/model.safetensors
"""
import argparse
import pathlib
import subprocess
import tempfile

import gguf
import numpy as np
from safetensors import safe_open

DTYPES = ["fp32", "fp16", "bf16", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0", "iq4_nl",
          "iq4_xs", "q3_k", "q2_k"]


def check(easel, model, dtype, folder):
    packed, plain = folder / f"{dtype}.gguf", folder / f"{dtype}.safetensors"
    subprocess.run([easel, "convert", model, packed, "--dtype", dtype, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([easel, "convert", packed, plain, "--dtype", "fp32", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    reader = gguf.GGUFReader(packed)
    shapes = {}
    for name, field in reader.fields.items():
        if name.startswith("comfy.gguf.orig_shape."):
            shapes[name.removeprefix("comfy.gguf.orig_shape.")] = [int(field.parts[i][0]) for i in field.data]
    count = 0
    with safe_open(plain, "np") as expected:
        assert {t.name for t in reader.tensors} == set(expected.keys()), "names differ"
        for tensor in reader.tensors:
            want = expected.get_tensor(tensor.name)
            if tensor.tensor_type.name in ("I8", "I16", "I32", "I64"):
                found = np.array(tensor.data)
            else:
                found = gguf.dequantize(tensor.data, tensor.tensor_type)
            found = found.reshape(shapes.get(tensor.name, list(tensor.shape[::-1]))).astype(want.dtype)
            assert found.shape == want.shape, (tensor.name, found.shape, want.shape)
            assert found.tobytes() == want.tobytes(), f"{dtype}: {tensor.name} differs"
            count += 1
    kinds = sorted({t.tensor_type.name for t in reader.tensors})
    print(f"{dtype:5} {count} tensors equal bit for bit ({', '.join(kinds)}; {len(shapes)} with rows cut anew)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("easel")
    parser.add_argument("model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for dtype in DTYPES:
            check(options.easel, options.model, dtype, pathlib.Path(folder))


if __name__ == "__main__":
    main()
