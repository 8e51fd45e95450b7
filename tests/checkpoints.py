"""Writes PyTorch checkpoints and GGUF files as torch and the gguf package do. Standard library only.

tensors: {name: (dtype, shape, bytes)} with the names of dtypes that safetensors uses.
"""
import io
import struct
import zipfile

STORAGES = {"F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage",
            "I64": "LongStorage", "I32": "IntStorage", "I16": "ShortStorage", "I8": "CharStorage", "U8": "ByteStorage",
            "BOOL": "BoolStorage"}
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
GGML = {"F32": 0, "F16": 1, "I8": 24, "I16": 25, "I32": 26, "I64": 27, "F64": 28, "BF16": 30}


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True) if abs(value) >= 2**31 else b"J" + struct.pack("<i", value)


def numbers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def number_of(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def tensor_opcodes(dtype, shape, key, legacy):
    strides = [number_of(shape[i + 1:]) for i in range(len(shape))]
    persistent = (b"(" + text("storage") + b"ctorch\n" + STORAGES[dtype].encode() + b"\n" + text(key) + text("cpu")
                  + integer(number_of(shape)) + (b"N" if legacy else b"") + b"tQ")
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + integer(0) + numbers(shape) + numbers(strides)
            + b"\x89ccollections\nOrderedDict\n)RtR")


def state_pickle(tensors, extra, legacy):
    out = b"\x80\x02}(" + text("state_dict") + b"ccollections\nOrderedDict\n)R("
    for i, (name, (dtype, shape, _)) in enumerate(tensors.items()):
        out += text(name) + tensor_opcodes(dtype, shape, str(i), legacy)
    out += b"u"
    for name, value in extra.items():
        out += text(name) + integer(value)
    return out + b"u."


def zip_archive(entries):
    """Stored entries, as torch has them."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def checkpoint_zip(tensors, extra={}):
    entries = {"archive/data.pkl": state_pickle(tensors, extra, False), "archive/byteorder": b"little"}
    for i, (_, _, data) in enumerate(tensors.values()):
        entries[f"archive/data/{i}"] = data
    return zip_archive({**entries, "archive/version": b"3\n"})


def checkpoint_legacy(tensors, extra={}):
    out = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + b"\x80\x02" + integer(1001) + b"."
    out += b"\x80\x02}(" + text("little_endian") + b"\x88u."
    out += state_pickle(tensors, extra, True)
    out += b"\x80\x02](" + b"".join(text(str(i)) for i in range(len(tensors))) + b"e."
    for dtype, shape, data in tensors.values():
        out += struct.pack("<Q", number_of(shape)) + data
    return out


def gguf(tensors, metadata=b"", keys=0, version=3):
    """metadata: keys as they stand in the file."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), keys) + metadata
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        raw = name.encode()
        out += struct.pack("<Q", len(raw)) + raw + struct.pack("<I", len(shape))
        out += b"".join(struct.pack("<Q", size) for size in reversed(shape))
        out += struct.pack("<IQ", GGML[dtype] if isinstance(dtype, str) else dtype, offset)
        offset += -(-len(data) // 32) * 32
    out += bytes(-len(out) % 32)
    for _, _, data in tensors.values():
        out += data + bytes(-len(data) % 32)
    return out
