"""Goldens of the prompt language: embeddings with weights, chunks, clip skip and textual inversions, and pictures with
schedules and AND, of the tiny model sd15/a.

  python3 tests/goldens/make_prompt.py      # after make_sd15.py; needs torch, transformers, diffusers

Writes prompt/: index.json, cases/*.safetensors, embeddings/ (textual inversions). Nothing here parses a prompt: beside
every prompt stands, worked out by hand, what its dialect makes of it: a list of chunks, each a list of (text, weight),
or ("<name>", weight) for a textual inversion. From these the embedding is computed with transformers:
  comfy: e + w (z - e), e the encoding of the empty prompt; a1111: w z, scaled to the mean of z over the chunk.
Pictures are computed with diffusers' UNet and Euler scheduler, one call per conditioning and no padding between texts
of different length. An entry of index.json has `name`, `args` for `easel generate`, `expected` (a file with the
tensors that --trace must give: prompt_embeds…, the last latents), and `jitter` as in sd15/index.json.
"""

import shutil
from pathlib import Path

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from safetensors.torch import save_file
from transformers import CLIPTokenizer

import sd15_common as common

HERE = Path(__file__).resolve().parent
OUT = HERE / "prompt"
MODEL = HERE / "sd15" / "a"
STEPS, SIZE, SEED, SCALE = 5, (40, 56), 11, 4.0  # height, width

pipe = StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32, local_files_only=True)
for part in (pipe.unet, pipe.text_encoder):
    part.float().eval()
tokenizer = CLIPTokenizer.from_pretrained(MODEL / "tokenizer")
WIDTH = pipe.text_encoder.config.hidden_size
VECTORS = {
    "bad": torch.randn(2, WIDTH, generator=common.generator_for("bad", 3)) * 0.5,
    "style/oil": torch.randn(WIDTH, generator=common.generator_for("oil", 3)) * 0.5,
}


def submodule(name):
    return next(m for n, m in pipe.text_encoder.named_modules() if n.endswith(name))


def states(chunk, clip_skip):
    """[77, D]: a chunk's tokens through the encoder, without its last clip_skip - 1 layers."""
    ids, given = [tokenizer.bos_token_id], {}
    for text, _ in chunk:
        if text.startswith("<"):
            rows = VECTORS[text[1:-1]].reshape(-1, WIDTH)
            given.update({len(ids) + i: row for i, row in enumerate(rows)})
            ids += [0] * len(rows)
        else:
            ids += tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) <= 76, len(ids)
    ids += [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * (76 - len(ids))

    def replace(_module, _inputs, output):
        output = output.clone()
        for at, row in given.items():
            output[0, at] = row
        return output

    seen = {}
    layers = pipe.text_encoder.config.num_hidden_layers
    last = submodule(f"encoder.layers.{layers - clip_skip}")

    def keep(_module, _inputs, output):
        seen["state"] = output[0] if isinstance(output, tuple) else output

    hooks = [submodule("token_embedding").register_forward_hook(replace), last.register_forward_hook(keep)]
    pipe.text_encoder(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return submodule("final_layer_norm")(seen["state"])[0]


def weights(chunk):
    out = [1.0]
    for text, weight in chunk:
        count = len(VECTORS[text[1:-1]].reshape(-1, WIDTH)) if text.startswith("<") else len(
            tokenizer(text, add_special_tokens=False).input_ids)
        out += [weight] * count
    return torch.tensor(out + [1.0] * (77 - len(out)))[:, None]


def embed(style, chunks, clip_skip=1):
    """[1, 77 k, D]"""
    rows = []
    for chunk in chunks:
        z, w = states(chunk, clip_skip), weights(chunk)
        if style == "comfy":
            empty = states([], clip_skip)
            z = empty + w * (z - empty)
        elif not bool((w == 1).all()):
            mean = z.double().mean()
            z = z * w
            z = z * (mean / z.double().mean()).float()
        rows.append(z)
    return torch.cat(rows)[None]


def words(count, word="a"):
    return " ".join([word] * count)


# (name, style, prompt, chunks worked out by hand, clip skip)
TEXTS = [
    ("comfy_weights", "comfy", "a photo of ((a cat):1.3) and (the sea:-0.4), (blurry)",
     [[("a photo of ", 1), ("a cat", 1.3 * 1.1), (" and ", 1), ("the sea", -0.4), (", ", 1), ("blurry", 1.1)]], 1),
    ("comfy_unweighted", "comfy", r"a \(photo\) of [the] sea", [[("a (photo) of [the] sea", 1)]], 1),
    ("comfy_chunks", "comfy", words(70) + " (the sea of a cat with:1.4) " + words(80, "b"),
     [[(words(70), 1)], [("the sea of a cat with", 1.4), (words(69, "b"), 1)], [(words(11, "b"), 1)]], 1),
    ("comfy_skip", "comfy", "a photo of (a cat:1.5)", [[("a photo of ", 1), ("a cat", 1.5)]], 2),
    ("comfy_embedding", "comfy", "a photo, embedding:bad (embedding:style/oil of a cat:0.7)",
     [[("a photo,", 1), ("<bad>", 1), ("<style/oil>", 0.7), (" of a cat", 0.7)]], 1),
    ("a1111_weights", "a1111", r"a photo of ((a cat):1.3) and [the sea], \(blurry\)",
     [[("a photo of ", 1), ("a cat", 1.1 * 1.3), (" and ", 1), ("the sea", 1 / 1.1), (", (blurry)", 1)]], 1),
    ("a1111_break", "a1111", "a photo of (a cat:1.3) BREAK the (sea:0.5)",
     [[("a photo of ", 1), ("a cat", 1.3)], [("the ", 1), ("sea", 0.5)]], 1),
    ("a1111_comma", "a1111", words(60) + ", " + words(20, "b") + " (cat:1.2)",
     [[(words(60) + ",", 1)], [(words(20, "b"), 1), ("cat", 1.2)]], 1),
    ("a1111_skip", "a1111", "(a photo:0.8) of a cat", [[("a photo", 0.8), (" of a cat", 1)]], 2),
    ("a1111_embedding", "a1111", "a photo, (oil of a bad cat:1.2)",
     [[("a photo, ", 1), ("<style/oil>", 1.2), ("of a", 1.2), ("<bad>", 1.2), ("cat", 1.2)]], 1),
    ("plain_skip", "plain", "a photo of (a cat:1.5)", [[("a photo of (a cat:1.5)", 1)]], 2),
]

CAT, DOG, SEA = [[("a cat", 1)]], [[("a dog", 1)]], [[("the sea", 1)]]
# (name, style, prompt, negative prompt, per step from 0 the conditionings [(weight, chunks)], negative chunks)
PICTURES = [
    # 3 <= 0.5 * 5 fails, 2 <= 2 holds: the cat for the steps 0, 1 and 2.
    ("edit", "a1111", "a [cat:dog:0.5]", "", [[(1, CAT)]] * 3 + [[(1, DOG)]] * 2, [[]]),
    # Step k reads the text of step max(k, 1), counted from 1.
    ("alternate", "a1111", "a [cat|dog]", "", [[(1, c)] for c in (CAT, CAT, DOG, CAT, DOG)], [[]]),
    ("and", "a1111", "a cat AND the sea:0.6 AND a dog :-0.3", "blurry",
     [[(1, CAT), (0.6, SEA), (-0.3, DOG)]] * 5, [[("blurry", 1)]]),
    ("lengths", "comfy", "a cat " + words(80, "b"), "(blurry:1.2) " + words(170),
     [[(1, [[("a cat " + words(73, "b"), 1)], [(words(7, "b"), 1)]])]] * 5,
     [[("blurry", 1.2), (words(74), 1)], [(words(75), 1)], [(words(21), 1)]]),
    ("edit_lengths", "a1111", "a [cat BREAK the sea:dog:1]", "", [[(1, [[("a cat", 1)], [("the sea", 1)]])]] * 2 + [[(1, DOG)]] * 3,
     [[]]),
]


def picture(style, per_step, negative):
    generator = torch.Generator().manual_seed(SEED)
    latents = torch.randn(1, 4, SIZE[0] // 8, SIZE[1] // 8, generator=generator)
    scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(STEPS)
    latents = latents * scheduler.init_noise_sigma
    for t, conditionings in zip(scheduler.timesteps, per_step):
        x = scheduler.scale_model_input(latents, t)
        origin = pipe.unet(x, t, embed(style, negative)).sample
        guided = origin.clone()
        for weight, chunks in conditionings:
            guided += SCALE * weight * (pipe.unet(x, t, embed(style, chunks)).sample - origin)
        latents = scheduler.step(guided, t, latents).prev_sample
    return latents


def jittered(compute):
    """compute() and its relative change under weights times 1 +- 2^-21."""
    value = compute()
    old = [(part, common.jitter(part, 5)) for part in (pipe.unet, pipe.text_encoder)]
    change = common.relative_l2(compute(), value)
    for part, state in old:
        part.load_state_dict(state)
    return value, change


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "embeddings" / "style").mkdir(parents=True)
    save_file({"emb_params": VECTORS["bad"]}, OUT / "embeddings" / "bad.safetensors")
    save_file({"<oil>": VECTORS["style/oil"]}, OUT / "embeddings" / "style" / "oil.safetensors")
    save_file({"emb_params": torch.ones(1, WIDTH + 1)}, OUT / "embeddings" / "wide.safetensors")
    # The same vectors as the web UI and as diffusers save them.
    (OUT / "pickles").mkdir()
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.nn.Parameter(VECTORS["bad"])}, "name": "bad",
                "step": 500, "sd_checkpoint": "0123abcd", "sd_checkpoint_name": "model"}, OUT / "pickles" / "bad.pt")
    torch.save({"<bad>": VECTORS["bad"]}, OUT / "pickles" / "bad.bin")
    for file in OUT.rglob("*.safetensors"):
        file.chmod(0o644)
    entries = []
    size = ["--height", str(SIZE[0]), "--width", str(SIZE[1]), "--sampler", "euler", "--dtype", "fp32"]

    def add(name, args, tensors, change, bound):
        assert change < bound / 10, (name, change)
        common.save_tensors(OUT / "cases" / f"{name}.safetensors", tensors)
        entries.append({"name": name, "args": args + size, "expected": f"cases/{name}.safetensors", "jitter": change})
        print(f"{name:20} jitter {change:.1e}")

    for name, style, prompt, chunks, clip_skip in TEXTS:
        value, change = jittered(lambda: embed(style, chunks, clip_skip))
        args = ["--prompt", prompt, "--prompt-style", style, "--clip-skip", str(clip_skip), "--steps", "1", "--seed", "1"]
        if "<" in str(chunks):
            args += ["--embedding", "EMBEDDINGS"]
        add(name, args, {"prompt_embeds": value}, change, common.BOUNDS["prompt_embeds"])
    for name, style, prompt, negative_prompt, per_step, negative in PICTURES:
        value, change = jittered(lambda: picture(style, per_step, negative))
        args = ["--prompt", prompt, "--negative-prompt", negative_prompt, "--prompt-style", style, "--steps", str(STEPS),
                "--seed", str(SEED), "--guidance-scale", str(SCALE)]
        add(name, args, {f"latents.{STEPS - 1}": value, "negative_prompt_embeds": embed(style, negative)}, change,
            common.BOUNDS["latents"])
    common.write_json(OUT / "index.json", {"bounds": common.BOUNDS, "cases": entries})


if __name__ == "__main__":
    main()
