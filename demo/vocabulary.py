#!/usr/bin/env python3
"""Builds the demo model's tokenizer: a small byte-pair vocabulary in CLIP's files.

The vocabulary holds the 256 byte letters, the same 256 at the end of a word,
the merges that make the words of the demo's captions whole (and a few more
everyday words), and CLIP's two special tokens.  Every text can be encoded:
what was never seen falls apart into letters.

    python demo/vocabulary.py --model demo/model
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np

import scenes

VOCABULARY_SIZE = 1000
START, END = "<|startoftext|>", "<|endoftext|>"
MAX_LENGTH = 77
CAPTIONS = 20000
SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")

# Words that captions do not use but people do.
EVERYDAY = """
photo photograph realistic beautiful landscape nature scene background style art digital watercolor oil sketch
small large little old new tall dark light bright pink black gray brown gold silver colorful rain snow fog wind storm
river lake forest beach island bridge road street field garden grass rock stone sand water fire ice cloud rainbow
morning afternoon evening day winter summer spring autumn cat dog bird horse fish man woman child girl boy people
face hand head eye red blue green one two three many some very more no not without and or of the at by for from into
is are be it this that there here between behind under below next front side top bottom corner high low near far
castle tower church building window door plane train bicycle airplane rocket planet space galaxy detailed quality
""".split()


def byte_letters():
    """CLIP's printable stand-in for each byte, in the order of its vocabulary."""
    printable = list(range(ord("!"), ord("~") + 1)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    letters = [chr(b) for b in printable]
    extra = 0
    for b in range(256):
        if b not in printable:
            letters.append(chr(256 + extra))
            extra += 1
    return letters


def count_words():
    """How often each word occurs, damped so that rare words become whole too."""
    rng = np.random.default_rng(0)
    counts = Counter()
    for _ in range(CAPTIONS):
        counts.update(SPLIT.findall(scenes.caption(scenes.sample_scene(rng), rng)[0].lower()))
    words = {w: 10 * n for w, n in counts.items()}
    for w in EVERYDAY:
        words.setdefault(w, 5)
    return words


def learn_merges(words, count):
    """Plain byte-pair encoding; ties go to the alphabetically first pair."""
    split = {w: tuple(w[:-1]) + (w[-1] + "</w>",) for w in words}
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for w, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for w, parts in split.items():
            if best[0] not in parts:
                continue
            merged, i = [], 0
            while i < len(parts):
                if parts[i:i + 2] == best:
                    merged.append(best[0] + best[1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            split[w] = tuple(merged)
    return merges


def write(folder):
    """Write vocab.json, merges.txt and the two configurations; returns the vocabulary's size."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = byte_letters()
    merges = learn_merges(count_words(), VOCABULARY_SIZE - 2 * len(letters) - 2)
    tokens = letters + [c + "</w>" for c in letters] + ["".join(m) for m in merges] + [START, END]
    tokens = list(dict.fromkeys(tokens))
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    special = {}
    for name, content in (("bos_token", START), ("eos_token", END), ("unk_token", END)):
        special[name] = dict(content=content, lstrip=False, normalized=True, rstrip=False, single_word=False)
    special["pad_token"] = END
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    config = dict(add_prefix_space=False, bos_token=START, eos_token=END, unk_token=END, pad_token=END,
                  do_lower_case=True, errors="replace", model_max_length=MAX_LENGTH, tokenizer_class="CLIPTokenizer")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return len(tokens)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder; files go to its tokenizer/")
    args = parser.parse_args()
    print(f"{write(args.model / 'tokenizer')} entries")


if __name__ == "__main__":
    main()
