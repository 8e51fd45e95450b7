"""Makes tests/goldens/formats: small files of every container with what they hold, written by torch and by the gguf
package (pip install torch gguf safetensors), for the readers in src/io and the packed formats in src/tensor.

    python3 tests/goldens/make_formats.py
"""
import argparse
import collections
import pathlib

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent / "formats"
READ = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"]
WRITTEN = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
# Where the binary16 scales stand in a block; random bits there would be infinities.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}


def random_blocks(name, elements, rng):
    """Blocks of random levels with sensible scales, as bytes [1, n]."""
    block, size = gguf.GGML_QUANT_SIZES[Type[name]]
    blocks = rng.integers(0, 256, (elements // block, size), dtype=np.uint8)
    for at in SCALES[name]:
        blocks[:, at:at + 2] = rng.normal(0, 0.1, (len(blocks), 1)).astype(np.float16).view(np.uint8)
    return blocks.reshape(1, -1)


def make_blocks(rng):
    """What the gguf package makes of blocks and of values; fp8 as torch rounds it."""
    out = {}
    for name in READ:
        blocks = random_blocks(name, 512, rng)
        out[f"{name.lower()}.blocks"] = torch.from_numpy(blocks.copy())
        out[f"{name.lower()}.values"] = torch.from_numpy(gguf.dequantize(blocks, Type[name]))
    source = rng.normal(0, 1, (1, 1024)).astype(np.float32)
    source[0, 32:64] = 0
    source[0, 64:96] = 3.25
    source[0, 96:128] *= 1e-6
    source[0, 128:160] = abs(source[0, 128:160])
    out["source"] = torch.from_numpy(source)
    for name in WRITTEN:
        out[f"{name.lower()}.quantized"] = torch.from_numpy(gguf.quantize(source, Type[name]))
    values = np.concatenate([rng.normal(0, scale, 200) for scale in (1e-5, 1e-3, 1, 100, 1e5)])
    edges = [0.0, -0.0, 448, 449, 463.9, 464, 464.1, 480, 57344, 61439, 61440, 65535, 1e9, np.inf, -np.inf, np.nan,
             2**-9, 2**-10, 1.5 * 2**-10, 2**-16, 2**-17, 1.5 * 2**-17, 1.0625, 1.1875, 1.125, 1.375]
    values = torch.tensor([*values, *edges], dtype=torch.float32)
    out["fp8.source"] = values
    out["fp8.e4m3"] = values.to(torch.float8_e4m3fn).view(torch.uint8)
    out["fp8.e5m2"] = values.to(torch.float8_e5m2).view(torch.uint8)
    save_file(out, OUT / "blocks.safetensors")


def make_gguf(rng):
    """A file of the gguf package, and its tensors decoded."""
    writer = gguf.GGUFWriter(OUT / "tiny.gguf", "sd1")
    writer.add_string("general.name", "tiny")
    writer.add_uint32("general.file_type", 2)
    writer.add_float32("test.scale", 0.5)
    writer.add_bool("test.flag", True)
    writer.add_array("test.words", ["one", "two", "three"])
    writer.add_array("test.many", list(range(100)))
    values = {}

    def add(name, array, kind=None, shape=None):
        raw = gguf.quantize(array, kind) if kind and Type[kind.name].name in WRITTEN else array
        if kind and kind.name not in WRITTEN and kind != Type.BF16:
            raw = random_blocks(kind.name, array.size, rng).reshape(*array.shape[:-1], -1)
        if kind == Type.BF16:
            raw = gguf.quantize(array, kind)
        writer.add_tensor(name, raw, raw_dtype=kind)
        decoded = gguf.dequantize(raw, kind) if kind else array.astype(np.float32)
        values[name] = torch.from_numpy(np.ascontiguousarray(decoded.reshape(shape or array.shape)))

    normal = lambda *shape: rng.normal(0, 1, shape).astype(np.float32)
    add("plain.f32", normal(2, 3, 5))
    add("plain.f16", normal(7, 3).astype(np.float16))
    add("plain.bf16", normal(3, 8), Type.BF16)
    add("plain.i32", np.arange(6, dtype=np.int32).reshape(2, 3))
    for name in READ:
        add(f"packed.{name.lower()}", normal(2, 256), Type[name])
    # Rows cut anew, as converters of pictures' models do with convolutions.
    writer.add_array("comfy.gguf.orig_shape.conv.weight", [8, 4, 4, 4])
    add("conv.weight", normal(2, 256), Type.Q4_0, (8, 4, 4, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(values, OUT / "tiny_gguf_values.safetensors")


def make_torch():
    """One dictionary in both layouts of torch.save."""
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(6, 8, generator=generator)
    state = collections.OrderedDict()
    state["f32"] = base[:3].clone()
    state["f16"] = base.half()[1:5, :]  # a view into a larger storage
    state["bf16"] = base.bfloat16()
    state["transposed"] = base.t()
    state["strided"] = base[::2, 1::3]
    state["shared"] = base.view(48)[5:11]
    state["parameter"] = torch.nn.Parameter(base[0].clone())
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.zeros(0, 4)
    state["i64"] = torch.arange(77).reshape(1, 77)
    state["u8"] = torch.arange(5, dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False, True])
    state["f64"] = base[0].double()
    state._metadata = collections.OrderedDict([("", {"version": 1})])
    whole = {"state_dict": state, "epoch": 3, "global_step": np.int64(470000), "loss": np.float64(0.25),
             "lr": np.float32(0.5), "name": "tiny", "callbacks": {}, "pytorch-lightning_version": "1.4.2"}
    torch.save(whole, OUT / "zip.ckpt")
    torch.save(whole, OUT / "legacy.ckpt", _use_new_zipfile_serialization=False)
    torch.save({"e4m3": base.to(torch.float8_e4m3fn), "e5m2": base.to(torch.float8_e5m2), "u16": torch.arange(4).to(torch.uint16)},
               OUT / "new_dtypes.pt")
    torch.save({"model": {"a": torch.ones(2), "deeper": {"b": torch.zeros(1)}}, "step": 1}, OUT / "nested.pth")
    values = {name: tensor.detach().contiguous().clone() for name, tensor in state.items()}
    save_file(values, OUT / "ckpt_values.safetensors")


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    OUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(7)
    make_blocks(rng)
    make_gguf(rng)
    make_torch()
    print(sum(file.stat().st_size for file in OUT.iterdir()), "bytes in", OUT)


if __name__ == "__main__":
    main()
