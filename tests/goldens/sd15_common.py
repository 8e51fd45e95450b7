"""What the makers of the Stable Diffusion 1.5 goldens share.

Tiny networks with random weights, a small byte-complete CLIP tokenizer, weight
jitter, and the relative error used everywhere. Developers run the makers (they need
torch, diffusers and transformers); building and testing the project needs none of this.
"""

import json
import math
import zlib
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent / "sd15"

BOUNDS = {"prompt_embeds": 2e-5, "latents": 1e-4, "decoded": 2e-4}
"""Largest relative L2 error allowed in fp32; a golden's own jitter stays below a tenth."""


def write_json(path, value):
    """Writes JSON the way save_pretrained does: two spaces, sorted where order means nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save_tensors(path, tensors):
    """Writes contiguous copies (safetensors refuses shared storage)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, str(path))
    path.chmod(0o644)


def relative_l2(got, want):
    """||got - want|| / ||want|| in double."""
    got, want = got.double(), want.double()
    return (torch.linalg.vector_norm(got - want) / torch.linalg.vector_norm(want)).item()


def generator_for(name, seed):
    """A generator that depends on the tensor's name only, so adding a layer moves no other weight."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()) * 1009 + seed)


def randomize(module, seed, dtype=torch.float32, gains=None, step=None):
    """Gives every parameter a random value under which activations stay near unit size.

    Matrices and kernels get N(0, gain²/fan_in); norm weights 1 + 0.2 N; biases 0.1 N. So
    nothing is left at a value (0 or 1) that would hide a forgotten layer. `gains` maps a
    piece of a name to a factor. Values are rounded to `dtype`, the dtype of the file, and
    kept as float32: reading the file then gives exactly these weights. `step` rounds the
    noise to multiples of it, which makes the file compress.
    """
    gains = gains or {}
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=generator_for(name, seed))
            if step:
                noise = (noise / step).round().clamp(-2 / step, 2 / step) * step
            if p.ndim == 1:
                is_norm_weight = name.endswith("weight")
                p.copy_(1 + 0.2 * noise if is_norm_weight else 0.1 * noise)
            elif "embedding.weight" in name:  # token and position tables
                p.copy_(0.5 * noise)
            else:
                p.copy_(noise / math.sqrt(p[0].numel()))
            for piece, gain in gains.items():
                if piece in name and p.ndim > 1:
                    p.mul_(gain)
            p.copy_(p.to(dtype).float())
    return module.eval().requires_grad_(False)


def jitter(module, seed):
    """Multiplies every weight by 1 + 2^-21 or 1 - 2^-21 (fair coin). Returns the old weights."""
    old = {k: v.clone() for k, v in module.state_dict().items()}
    with torch.no_grad():
        for name, p in module.named_parameters():
            coin = torch.randint(0, 2, p.shape, generator=generator_for(name, seed + 77))
            p.mul_(1 + (2 * coin - 1) * 2.0**-21)
    return old


# ---- A small tokenizer in CLIP's file format -----------------------------------------

CORPUS = """a red balloon over green hills at sunset a photo of a cat an astronaut riding a
horse on the moon a house by the sea with clouds and stars in the night mountains at dawn
desert city painting of the tree a boat a car a flower high quality blurry low quality bad
picture of the sun the old man and the sea beautiful landscape oil on canvas very detailed
lighting hello world it's we're don't photo photo photo of of of the the the with with and"""


def bytes_to_unicode():
    """CLIP's and GPT-2's table of printable stand-ins for the 256 bytes, in CLIP's order."""
    keep = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: chr(b) for b in keep}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(keep))
    return table


def train_merges(count):
    """Byte-pair merges from CORPUS: the most frequent pair first, ties in order of letters."""
    words = Counter(CORPUS.split())
    split = {w: [*w[:-1], w[-1] + "</w>"] for w in words}
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for w, n in words.items():
            for pair in zip(split[w], split[w][1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for w, parts in split.items():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = ["".join(best)]
                i += 1
    return merges


def write_tokenizer(folder, merges=92, pad="<|endoftext|>"):
    """Writes vocab.json, merges.txt and the two config files as CLIP checkpoints have them.

    256 bytes, 256 bytes that end a word, the merges, start and end: 606 entries for 92
    merges. Returns (size, id of the start, id of the end). `pad` is "!" in SD2.
    """
    letters = list(bytes_to_unicode().values())
    pairs = train_merges(merges)
    entries = letters + [c + "</w>" for c in letters] + ["".join(p) for p in pairs]
    entries += ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(entries)) == len(entries)
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {t: i for i, t in enumerate(entries)}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(p) for p in pairs)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def special(text, normalized=True):
        return {"__type": "AddedToken", "content": text, "lstrip": False, "normalized": normalized,
                "rstrip": False, "single_word": False}

    write_json(folder / "tokenizer_config.json", {
        "add_prefix_space": False, "bos_token": special("<|startoftext|>"), "do_lower_case": True,
        "eos_token": special("<|endoftext|>"), "errors": "replace", "model_max_length": 77,
        "pad_token": pad, "tokenizer_class": "CLIPTokenizer", "unk_token": special("<|endoftext|>")})

    def plain(text):
        return {k: v for k, v in special(text).items() if k != "__type"}

    write_json(folder / "special_tokens_map.json", {
        "bos_token": plain("<|startoftext|>"), "eos_token": plain("<|endoftext|>"),
        "pad_token": pad, "unk_token": plain("<|endoftext|>")})
    return len(entries), len(entries) - 2, len(entries) - 1
