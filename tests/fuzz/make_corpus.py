"""Makes tests/fuzz/corpus: what each parser should meet first. Standard library only:  python3 tests/fuzz/make_corpus.py"""

import io
import json
import os
import pickle
import shutil
import struct
import sys
import zipfile
import zlib

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import checkpoints as ck  # noqa: E402

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def save(target, name, data):
    os.makedirs(f"{OUT}/{target}", exist_ok=True)
    with open(f"{OUT}/{target}/{name}", "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def make_safetensors():
    put = lambda name, data: save("safetensors", name, data)
    put("empty", b"")
    put("no_tensors", safetensors("{}"))
    put("two", safetensors({"__metadata__": {"format": "pt"}, "a": tensor(), "b": tensor("BF16", (1, 3), (8, 14))}, bytes(14)))
    every = {}
    for i, (dtype, size) in enumerate({"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4,
                                       "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}.items()):
        begin = sum(t["data_offsets"][1] - t["data_offsets"][0] for t in every.values())
        every[f"t{i}"] = tensor(dtype, (), (begin, begin + size))
    put("every_dtype", safetensors(every, bytes(53)))
    put("zero_size", safetensors({"a": tensor("F16", (0, 4), (0, 0))}))
    put("truncated_length", b"\x10\0\0")
    put("truncated_header", safetensors('{"a":', length=100))
    put("truncated_data", safetensors({"a": tensor()}, bytes(3)))
    put("huge_header", safetensors("{}", length=2**64 - 1))
    put("overlap", safetensors({"a": tensor(), "b": tensor(offsets=(4, 12))}, bytes(12)))
    put("gap", safetensors({"a": tensor(), "b": tensor(offsets=(9, 17))}, bytes(17)))
    put("shape_overflow", safetensors({"a": tensor(shape=(2**32, 2**32), offsets=(0, 0))}))
    put("zero_and_overflow", safetensors({"a": tensor(shape=(0, 2**40, 2**40), offsets=(0, 0))}))
    put("negative", safetensors({"a": tensor(shape=(-2,))}, bytes(8)))
    put("rank_9", safetensors({"a": tensor(shape=(1,) * 9, offsets=(0, 4))}, bytes(4)))
    put("deep", safetensors('{"a":' + "[" * 2000))
    put("deep_objects", safetensors('{"a":' * 1000))
    put("twice", safetensors('{"a":%s,"a":%s}' % ((json.dumps(tensor()),) * 2), bytes(8)))
    put("no_dtype", safetensors({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)))
    put("control_name", safetensors({"a\nb": tensor()}, bytes(8)))
    put("bad_utf8", safetensors(b'{"a\xff":{}}'))
    weight = {"a.weight": tensor("F8_E4M3", (2, 4), (0, 8))}
    put("scale", safetensors({**weight, "a.scale_weight": tensor("F32", (), (8, 12)), "scaled_fp8": tensor("F8_E4M3", (0,), (12, 12))},
                             bytes(8) + struct.pack("<f", 0.5)))
    put("scale_per_row", safetensors({**weight, "a.weight_scale": tensor("F16", (2, 1), (8, 12))}, bytes(12)))
    put("scale_of_nothing", safetensors({"b.scale_weight": tensor("F32", (), (0, 4))}, bytes(4)))


def make_json():
    put = lambda name, data: save("json_config", name, data)
    put("text", json.dumps({"hidden_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "architectures": ["CLIPTextModel"],
                            "attention_head_dim": [5, 10], "tie": False, "none": None, "text_config": {"x": 1}}, indent=2))
    put("scheduler", '{"_class_name":"DPMSolverMultistepScheduler","lambda_min_clipped":-Infinity,"trained_betas":[0.1,NaN],"b":Infinity}')
    put("negative", '{"hidden_size":-1,"a":[1,-2,3.0,1.5,"x"],"big":18446744073709551615,"e":1e300}')
    put("overflow", '{"a":1e999}')
    put("deep", "[" * 3000)
    put("deep_ok", "[" * 60 + "]" * 60)
    put("twice", '{"a":1,"a":2}')
    put("list", "[1,2]")
    put("truncated", '{"a": "b')
    put("escapes", r'{"\u0000\ud83c\udf88":"\n\"\\","Infinity":"NaN \" -Infinity"}')
    put("bad_surrogate", r'{"a":"\ud800"}')
    put("bad_utf8", b'{"a":"\xff"}')
    put("empty", "")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, kind, rows, before=b"", interlace=0, after=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b""))


def make_png():
    put = lambda name, data: save("png", name, data)
    rgb = png(3, 2, 8, 2, b"\0" + bytes(range(9)) + b"\1" + bytes(range(9)))
    texts = (chunk(b"tEXt", b"parameters\0a cat\nSteps: 20, caf\xe9") + chunk(b"zTXt", b"z\0\0" + zlib.compress(b"text " * 20)) +
             chunk(b"iTXt", b"easel\0\0\0\0\0{\"prompt\": \"\xe2\x98\x95\"}") + chunk(b"iTXt", b"e\0\1\0en\0E\0" + zlib.compress(b"abc" * 9)))
    put("rgb", rgb)
    put("texts", png(1, 1, 8, 2, b"\0\1\2\3", texts))
    put("texts_after", png(1, 1, 8, 2, b"\0\1\2\3", after=texts))
    put("bad_text", png(1, 1, 8, 0, b"\0\1", chunk(b"tEXt", b"no end") + chunk(b"iTXt", b"k\0\1\0\0\0not deflated") + chunk(b"iTXt", b"k\0\0\0\0\0\xff")))
    put("text_bomb", png(1, 1, 8, 0, b"\0\1", chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(8 << 20), 9))))
    put("gray_1", png(9, 2, 1, 0, b"\0\xaa\x80\0\x55\0"))
    put("gray_16", png(1, 1, 16, 0, b"\0\1\2"))
    put("gray_alpha", png(1, 1, 8, 4, b"\0\1\2"))
    put("rgba_16", png(1, 1, 16, 6, b"\0" + bytes(8)))
    put("palette", png(2, 1, 2, 3, b"\0\x40", chunk(b"PLTE", bytes(range(6))) + chunk(b"tRNS", b"\0")))
    put("palette_outside", png(2, 1, 8, 3, b"\0\0\xff", chunk(b"PLTE", bytes(range(6)))))
    put("no_palette", png(1, 1, 8, 3, b"\0\0"))
    put("interlaced", png(2, 2, 8, 0, b"\0\1\0\2\0\3\4", interlace=1))
    put("huge", png(32768, 4096, 8, 2, b"\0"))
    put("too_wide", png(2**31 - 1, 1, 8, 2, b"\0"))
    put("no_size", png(0, 0, 8, 2, b""))
    put("too_little_data", png(8, 8, 8, 2, b"\0\1\2"))
    put("truncated", rgb[:40])
    put("bad_crc", rgb[:50] + b"x" + rgb[51:])
    put("signature", rgb[:8])
    put("other", b"GIF89a")


def make_prompt():
    """The first byte: style (modulo 3: plain, comfy, a1111) and seed."""
    comfy = ["a (red:1.3) house", "((a:1.2) b)", "a) (b", "(a (b)", "(:1.2)(a:inf)(a:1e-3)", r"\(a\) \\(b)", "{a|{b|c} d} // e\nf /* g */ {h",
             "embedding:bad, (embedding:dir/the x:1.5) embedding:none", "the " * 30, "(the the:2) " * 9]
    a1111 = ["(a:1.2) [b] ((c))", "a BREAK (b BREAK c:1.1)", "a [b:c:0.5] [d::3] [e:2]", "[a|b|]c", "a :1.2 AND b:-1 AND", "(a [b) c]:1.5)",
             r"\(a\) \[b\] \x \\", "((a][:b:c [d:3]", "a | b [c:d:2]", "[[a|b]:[c:d:3]:2]", "a bad, the b", "the, " * 20, "{a|b}[{c|d}:2]"]
    for i, text in enumerate(comfy):
        save("prompt", f"comfy_{i}", b"\x01" + text.encode())
    for i, text in enumerate(a1111):
        save("prompt", f"a1111_{i}", b"\x02" + text.encode())
    save("prompt", "plain", b"\x00(a:1.2) [b|c]")
    save("prompt", "bad_utf8", b"\x02a \xff")
    save("prompt", "deep", b"\x02" + b"[a|" * 300 + b"]" * 300)


def make_tokenizer():
    put = lambda name, data: save("tokenizer", name, data)
    files = lambda name, *parts: put(name, "#files\n" + "#next\n".join(parts))
    bos, eos = "<|startoftext|>", "<|endoftext|>"
    vocab = {"a": 0, "b": 1, "a</w>": 2, "b</w>": 3, "ab</w>": 4, bos: 5, eos: 6}
    merges = "#version: 0.2\na b</w>\n"
    token = lambda text, **flags: {"content": text, "lstrip": False, "rstrip": False, "normalized": True, "single_word": False, **flags}
    config = {"model_max_length": 8, "bos_token": {"__type": "AddedToken", **token(bos)}, "eos_token": eos, "pad_token": "a"}
    dump = json.dumps
    files("good", "", dump(vocab), merges, dump(config), dump({"pad_token": "b", "unk_token": token(eos)}), dump({"<x>": 7}))
    files("decoder", "", dump(vocab), merges, dump({**config, "added_tokens_decoder": {"7": token("<X>", lstrip=True, rstrip=True), "8": token("dog", single_word=True)}}))
    whole = {"added_tokens": [{"id": 7, **token("<x>"), "special": False}], "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b</w>"]]}}
    files("tokenizer_json", dump(whole), "", "", dump(config))
    files("old_merges", dump({**whole, "model": {"vocab": vocab, "merges": ["a b</w>"]}}))
    files("negative", "", dump({**vocab, "c": -1}), merges)
    files("huge_id", "", dump({**vocab, "c": 2**40}), merges)
    files("same_id", "", dump({**vocab, "c": 0}), merges)
    files("no_bos", "", dump({"a": 0, eos: 1}), "")
    files("unknown_merge", "", dump(vocab), "a z\n")
    files("broken_merge", "", dump(vocab), "a b c\nab\n")
    files("truncated", "", dump(vocab)[:20], merges)
    files("deep", "", '{"a":' + "[" * 500, merges)
    files("length", "", dump(vocab), merges, '{"model_max_length": 1000000000000000019884624838656}')
    files("bad_length", "", dump(vocab), merges, '{"model_max_length": -1}')
    files("nothing", "")
    put("empty", "")
    put("prompt", "A red balloon, it's over <cat> green hills! the dog's 42 <|endoftext|> <|STARTOFTEXT|>")
    put("spaces", " a\t\n\u00a0\u2003\u3000\u0085b\u001c\u0000c\u180e ")
    put("unicode", "cafe\u0301 \u0130 \u03a3\u03c2 \u1e9e \u212b \ud55c \u1112\u1161\u11ab \u65e5\u672c \U0001f468\u200d\U0001f469 \U00010eff\u0301 \U0010ffff")
    put("words", "dog hotdog dogs -dog- DOG dog\u0301 " + "x" * 200 + "!" * 100 + "the " * 90)
    put("bad_utf8", b"caf\xe9 at night")
    put("surrogate", b"a\xed\xa0\x80b")
    put("cut_short", b"a\xf0\x9f\x8e")


TENSORS = {"a": ("F32", [2, 3], bytes(24)), "b": ("F16", [4], bytes(8)), "n": ("I64", [], bytes(8))}


def make_pickle():
    put = lambda name, data: save("pickle", name, data)
    put("legacy", ck.checkpoint_legacy(TENSORS, {"epoch": 3}))
    put("state", ck.state_pickle(TENSORS, {"epoch": 3, "step": 2**40}, False))
    for protocol in range(6):
        value = {"a": [1, 2.5, "text", b"bytes", True, None, (1, 2), -(2**70)], "b": {"c": {1, 2}, "d": "x" * 300}}
        put(f"protocol_{protocol}", pickle.dumps(value, protocol))
    put("system", b"cos\nsystem\n(S'true'\ntR.")
    put("stack_global", b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.")
    put("inst", b"(S'true'\nios\nsystem\n.")
    put("newobj", b"\x80\x02ccollections\nOrderedDict\n)\x81.")
    put("extension", b"\x80\x02\x82\x01.")
    put("buffers", b"\x80\x05\x97\x98.")
    put("nested", b"]" * 500 + b"a" * 499 + b".")
    put("tuples", b"N" + b"\x85" * 1500 + b".")
    laughs = b"}q\x01"
    for i in range(1, 26):
        laughs += b"0}(" + b"".join(b"U\x01" + bytes([65 + k]) + b"h" + bytes([i]) for k in range(8)) + b"uq" + bytes([i + 1])
    put("laughs", laughs + b".")
    put("memo", b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.")
    put("long_text", b"X\xff\xff\xff\xffabc.")
    put("numpy", b"\x80\x02}U\x01acnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tbc_codecs\nencode\nX\x08\x00\x00\x00abcdefghX\x06\x00\x00\x00latin1\x86R\x86Rs.")
    put("empty", b"")
    put("truncated", ck.state_pickle(TENSORS, {}, False)[:60])


def make_zip():
    put = lambda name, data: save("zip", name, data)
    whole = ck.checkpoint_zip(TENSORS, {"epoch": 3})
    put("checkpoint", whole)
    put("other", ck.zip_archive({"readme": b"hello"}))
    put("empty", ck.zip_archive({}))
    put("script", ck.zip_archive({"x/data.pkl": b"}.", "x/constants.pkl": b")."}))
    put("escape", ck.zip_archive({"../x/data.pkl": b"}."}))
    put("truncated", whole[:-30])
    put("shifted", b"PK\x03\x04" + whole)
    put("short_storage", whole.replace(b"J" + struct.pack("<i", 6), b"J" + struct.pack("<i", 7)))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), bytes(100000), zipfile.ZIP_DEFLATED)
    put("deflated", out.getvalue())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open(zipfile.ZipInfo("archive/data.pkl"), "w", force_zip64=True) as entry:
            entry.write(ck.state_pickle({}, {}, False))
    put("zip64", out.getvalue())


def make_gguf():
    put = lambda name, data: save("gguf", name, data)
    word = lambda value: struct.pack("<Q", len(value)) + value
    key = lambda name, kind, value: word(name) + struct.pack("<I", kind) + value
    put("plain", ck.gguf(TENSORS))
    for number, size in {2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 20: 18}.items():
        put(f"type_{number}", ck.gguf({"a": (number, [2, 32], bytes(range(2 * size)))}))
    for number, size in {10: 84, 11: 110, 12: 144, 13: 176, 14: 210, 23: 136}.items():
        put(f"type_{number}", ck.gguf({"a": (number, [256], bytes(range(size)))}))
    every = b"".join((key(b"u8", 0, b"\1"), key(b"i16", 3, b"\xff\xff"), key(b"f32", 6, struct.pack("<f", 1.5)), key(b"bool", 7, b"\1"),
                      key(b"text", 8, word(b"hello")), key(b"f64", 12, struct.pack("<d", 2)),
                      key(b"list", 9, struct.pack("<IQ", 4, 3) + bytes(12)),
                      key(b"words", 9, struct.pack("<IQ", 8, 2) + word(b"a") + word(b"b")),
                      key(b"deep", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 0, 1) + b"\1")))
    put("metadata", ck.gguf(TENSORS, every, 9))
    put("reshaped", ck.gguf({"a": ("F32", [4], bytes(16))}, key(b"comfy.gguf.orig_shape.a", 9, struct.pack("<IQii", 5, 2, 2, 2)), 1))
    put("alignment", ck.gguf({}, key(b"general.alignment", 4, struct.pack("<I", 48)), 1))
    put("nested", ck.gguf({}, key(b"a", 9, struct.pack("<IQ", 9, 1) * 50), 1))
    put("many_keys", ck.gguf({}, b"", 2**60))
    put("long_list", ck.gguf({}, key(b"a", 9, struct.pack("<IQ", 8, 2**61)), 1))
    put("version_1", ck.gguf({}, version=1))
    put("version_2", ck.gguf(TENSORS, version=2))
    put("big_endian", ck.gguf({}, version=3 << 24))
    put("overflow", ck.gguf({"a": ("F32", [2**40, 2**40], b"")}))
    put("odd_rows", ck.gguf({"a": (2, [48], bytes(27))}))
    put("unread_type", ck.gguf({"a": (16, [256], bytes(66))}))
    put("truncated", ck.gguf(TENSORS)[:-40])
    put("empty", b"")


def make_image():
    """JPEG and WebP of every kind (made by tests/goldens/make_images.py), whole, cut and with another size."""
    folder = os.path.join(os.path.dirname(OUT), os.pardir, "goldens", "images")
    for name in sorted(os.listdir(folder)):
        if not name.endswith((".jpg", ".webp")) or "orientation_" in name and name != "orientation_6.jpg":
            continue
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        save("image", name, data)
        save("image", name + "_cut", data[:len(data) * 2 // 3])
        frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
        if name.endswith(".jpg") and frame >= 0:
            save("image", name + "_huge", data[:frame + 5] + b"\xff\xff\xff\xff" + data[frame + 9:])


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    make_safetensors()
    make_json()
    make_png()
    make_image()
    make_tokenizer()
    make_prompt()
    make_pickle()
    make_zip()
    make_gguf()
