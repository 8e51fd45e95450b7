"""Makes tests/fuzz/corpus: what each parser should meet first. Standard library only:  python3 tests/fuzz/make_corpus.py"""

import json
import os
import shutil
import struct
import zlib

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


if __name__ == "__main__":
    shutil.rmtree(OUT, ignore_errors=True)
    make_safetensors()
    make_json()
    make_png()
    make_tokenizer()
    make_prompt()
