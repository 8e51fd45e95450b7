"""Reads GGUF files that easel wrote with the gguf package: names, shapes, and every value bit for bit as easel itself
decodes them; and the reverse, files of every type that the package writes. Needs `pip install gguf safetensors numpy`, and a model in one of the forms that easel converts.

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


# Where binary16 scales stand in a block.
SCALES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,)}
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]


def check_reverse(easel, folder):
    """Blocks whose bits are random but for the scales, written by the package."""
    random, path, plain = np.random.default_rng(1), folder / "types.gguf", folder / "types.safetensors"
    writer, expected = gguf.GGUFWriter(path, "sd1"), {}
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        rows, columns = 5, 1024
        if elements == 1:
            values = random.standard_normal((rows, columns)).astype(np.float32)
            data = values if name == "F32" else gguf.quantize(values, kind)
        else:
            data = random.integers(0, 256, (rows, columns // elements, size), dtype=np.uint8)
            for at in SCALES.get(name, (0,)):
                scales = random.standard_normal((rows, columns // elements)).astype(np.float16)
                data[:, :, at:at + 2] = scales[..., None].view(np.uint8)
            data = data.reshape(rows, -1)
        writer.add_tensor(name, data, raw_dtype=kind)
        expected[name] = gguf.dequantize(data, kind).reshape(rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    subprocess.run([easel, "convert", path, plain, "--dtype", "fp32", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    with safe_open(plain, "np") as found:
        assert set(found.keys()) == set(expected)
        for name, want in expected.items():
            assert found.get_tensor(name).tobytes() == want.astype(np.float32).tobytes(), f"{name} of the package differs"
    print(f"{len(TYPES)} types of the package equal bit for bit: {', '.join(TYPES)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("easel")
    parser.add_argument("model")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check_reverse(options.easel, pathlib.Path(folder))
        for dtype in DTYPES:
            check(options.easel, options.model, dtype, pathlib.Path(folder))


if __name__ == "__main__":
    main()
