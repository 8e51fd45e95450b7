"""Goldens of the prompt language with two text encoders, from the model families/xl.

  python3 tests/goldens/make_prompt_xl.py      # after make_families.py; needs torch, transformers, diffusers

Writes families/prompts/: index.json, cases/*.safetensors, embeddings/ (a textual inversion with clip_l and clip_g).
As in make_prompt.py, nothing here parses a prompt: beside each stands, worked out by hand, what its dialect makes of
it. Each encoder weighs its own states, those before its last layer and without the final norm; both are given the
first tokenizer's tokens, the second one with id 0 as padding. The pooled text is that of the first chunk.
"""

import shutil

import torch
from safetensors.torch import save_file

import make_families as families
import sd15_common as common

OUT = families.HERE / "prompts"
pipe = families.pipeline("xl", families.build("xl"))
tokenizer = pipe.tokenizer
ENCODERS = {"clip_l": (pipe.text_encoder, tokenizer.pad_token_id), "clip_g": (pipe.text_encoder_2, 0)}
VECTORS = {key: torch.randn(2, encoder.config.hidden_size, generator=common.generator_for(key, 5)) * 0.5
           for key, (encoder, _) in ENCODERS.items()}


def tokens_of(text):
    return [0, 0] if text == "<ink>" else tokenizer(text, add_special_tokens=False).input_ids


def encode(key, chunk):
    """([77, D], pooled or None) of a chunk, without weights."""
    encoder, pad = ENCODERS[key]
    ids, given = [tokenizer.bos_token_id], {}
    for text, _ in chunk:
        if text == "<ink>":
            given.update({len(ids) + i: row for i, row in enumerate(VECTORS[key])})
        ids += tokens_of(text)
    ids += [tokenizer.eos_token_id] + [pad] * (76 - len(ids))

    def replace(_module, _inputs, output):
        output = output.clone()
        for at, row in given.items():
            output[0, at] = row
        return output

    table = next(m for n, m in encoder.named_modules() if n.endswith("token_embedding"))
    hook = table.register_forward_hook(replace)
    out = encoder(torch.tensor([ids]), output_hidden_states=True)
    hook.remove()
    return out.hidden_states[-2][0], out[0][0] if key == "clip_g" else None


def embed(style, chunks):
    """{prompt_embeds, pooled_prompt_embeds}"""
    rows, pooled = [], None
    for chunk in chunks:
        w = [1.0]
        for text, weight in chunk:
            w += [weight] * len(tokens_of(text))
        w = torch.tensor(w + [1.0] * (77 - len(w)))[:, None]
        states = []
        for key in ENCODERS:
            z, p = encode(key, chunk)
            pooled = p if pooled is None else pooled
            if style == "comfy":
                empty, _ = encode(key, [])
                z = empty + w * (z - empty)
            elif not bool((w == 1).all()):
                mean = z.double().mean()
                z = z * w
                z = z * (mean / z.double().mean()).float()
            states.append(z)
        rows.append(torch.cat(states, dim=-1))
    return {"prompt_embeds": torch.cat(rows)[None], "pooled_prompt_embeds": pooled[None]}


CASES = [
    ("comfy", "comfy", "a photo of (a cat:1.5), wow! embedding:ink",
     [[("a photo of ", 1), ("a cat", 1.5), (", wow! ", 1), ("<ink>", 1)]]),
    ("a1111", "a1111", "(a photo:0.8) of ink BREAK the sea!",
     [[("a photo", 0.8), (" of", 1), ("<ink>", 1)], [("the sea!", 1)]]),
]


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "embeddings").mkdir(parents=True)
    save_file(VECTORS, str(OUT / "embeddings" / "ink.safetensors"))
    index = []
    with torch.no_grad():
        plain = {name: embed(style, chunks) for name, style, _, chunks in CASES}
        for module in (pipe.text_encoder, pipe.text_encoder_2):
            common.jitter(module, 22)
        for name, style, prompt, chunks in CASES:
            noise = max(common.relative_l2(v, plain[name][k]) for k, v in embed(style, chunks).items())
            assert noise < common.BOUNDS["prompt_embeds"] / 10, (name, noise)
            common.save_tensors(OUT / "cases" / f"{name}.safetensors", plain[name])
            index.append({"name": name, "prompt": prompt, "style": style, "expected": f"cases/{name}.safetensors",
                          "jitter": float(f"{noise:.2e}")})
            print(name, noise)
    common.write_json(OUT / "index.json", index)


if __name__ == "__main__":
    main()
