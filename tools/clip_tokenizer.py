#!/usr/bin/env python3
"""Writes CLIP's tokenizer as the folder that easel and transformers read: vocab.json, merges.txt, tokenizer_config.json.

    pip download --no-deps open_clip_torch
    python3 tools/clip_tokenizer.py open_clip_torch-*.whl FOLDER

The first argument is CLIP's list of merges, bpe_simple_vocab_16e6.txt, plain or with .gz, or a package or archive (.whl,
.zip) that holds it. Standard library only.
"""

import gzip
import json
import pathlib
import sys
import zipfile

NAME = "bpe_simple_vocab_16e6.txt.gz"
MERGES = 49152 - 256 - 2  # what CLIP's encoder was trained with; the list goes on
LENGTH = 77


def read_list(path):
    """The text of the list of merges."""
    if path.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(path) as archive:
            inside = [name for name in archive.namelist() if name.endswith(NAME)]
            if not inside:
                sys.exit(f"{path}: expected a file {NAME} inside, found none")
            data = archive.read(inside[0])
    else:
        data = path.read_bytes()
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8")


def byte_letters():
    """A printable letter for each byte, in the order of their ids: printable bytes stand for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    lines = read_list(source).split("\n")
    pairs = [line.split() for line in lines[1:MERGES + 1]]
    if not lines[0].startswith(("#version", '"bpe')) or len(pairs) < MERGES or any(len(pair) != 2 for pair in pairs):
        sys.exit(f"{source}: expected CLIP's list of {MERGES} merges, found another file")
    letters = byte_letters()
    tokens = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in pairs]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False),
                                       encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in pairs), encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
               "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {**special, "model_max_length": LENGTH, "do_lower_case": True, "tokenizer_class": "CLIPTokenizer"}, indent=2))
    print(f"{folder}: {len(tokens)} tokens")


if __name__ == "__main__":
    main()
