"""Makes the picture goldens of perturbed attention, FreeU and guidance by two prompts, for the models of make_sd15.py.

    python3 tests/goldens/make_guidance.py [NAME …]    # all cases, or these alone, into tests/goldens/guidance/

Run by developers only, with torch (CPU), diffusers, transformers and safetensors. Perturbed attention and FreeU are
diffusers' (StableDiffusionPAGPipeline, enable_freeu). diffusers has no pipeline with two prompts for a model of text
alone: its loop stands below, with the formula of InstructPix2Pix.
"""

import json
import sys

import torch
from diffusers import StableDiffusionPAGPipeline, StableDiffusionPipeline, StableDiffusionXLPAGPipeline
from safetensors.torch import load_file

from sd15_common import HERE, jitter, relative_l2, save_tensors, write_json

OUT = HERE.parent / "guidance"
PROMPT, NEGATIVE, MIDDLE = "a red balloon over green hills", "blurry", "a photo of a cat"
FREEU = dict(b1=1.5, b2=1.6, s1=0.9, s2=0.2)
STEPS = 5

CASES = {
    "pag": dict(model="a", pag=dict(pag_scale=3.0)),
    "pag-alone": dict(model="a", pag=dict(pag_scale=2.0), guidance_scale=1.0),
    "pag-adaptive": dict(model="a", pag=dict(pag_scale=3.0, pag_adaptive_scale=0.005)),
    "pag-layers": dict(model="a", pag=dict(pag_scale=3.0), layers=["up_blocks.1.attentions.0", "mid"], size=(5, 7)),
    "pag-rescaled": dict(model="a", pag=dict(pag_scale=2.5), rescale=0.7),
    "pag-b": dict(model="b", pag=dict(pag_scale=3.0), layers=["down_blocks", "up"]),
    "pag-xl": dict(model="../families/xl", pag=dict(pag_scale=2.0), layers=["mid", "up_blocks.0.attentions.1"],
                   guidance_scale=3.0),
    "freeu": dict(model="a", freeu=FREEU),
    "freeu-size": dict(model="a", freeu=dict(b1=1.2, b2=0.8, s1=0.1, s2=1.3), size=(5, 7)),  # a 0 turns diffusers' off
    "freeu-b": dict(model="b", freeu=FREEU, guidance_scale=1.0),
    "freeu-pag": dict(model="b", freeu=FREEU, pag=dict(pag_scale=3.0)),
    "two-prompts": dict(model="a", middle=1.5),
}


def load(case):
    folder = HERE / case["model"]
    kind = StableDiffusionPAGPipeline if "pag" in case else StableDiffusionPipeline
    more = {"pag_applied_layers": case.get("layers", "mid")} if "pag" in case else {}
    if case["model"].endswith("xl"):
        kind = StableDiffusionXLPAGPipeline
    else:
        more.update(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe = kind.from_pretrained(folder, torch_dtype=torch.float32, **more)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder, getattr(pipe, "text_encoder_2", None)):
        if part is not None:
            part.float()
    pipe.set_progress_bar_config(disable=True)
    if "freeu" in case:
        pipe.enable_freeu(**case["freeu"])
    return pipe


def two_prompts(pipe, latents, scale, middle_scale):
    def encode(text):
        return pipe.encode_prompt(text, "cpu", 1, False)[0]

    states = torch.cat([encode(NEGATIVE), encode(MIDDLE), encode(PROMPT)])
    pipe.scheduler.set_timesteps(STEPS)
    x = latents * pipe.scheduler.init_noise_sigma
    for t in pipe.scheduler.timesteps:
        y = pipe.scheduler.scale_model_input(torch.cat([x] * 3), t)
        u, m, c = pipe.unet(y, t, encoder_hidden_states=states).sample.chunk(3)
        x = pipe.scheduler.step(u + middle_scale * (m - u) + scale * (c - m), t, x).prev_sample
    return x


def run(case, latents, shake=False):
    pipe = load(case)
    if shake:
        for part in (pipe.unet, pipe.text_encoder, getattr(pipe, "text_encoder_2", None)):
            if part is not None:
                jitter(part, 5)
    scale = case.get("guidance_scale", 7.5)
    with torch.no_grad():
        if "middle" in case:
            out = two_prompts(pipe, latents, scale, case["middle"])
        else:
            more = {"guidance_rescale": case["rescale"]} if "rescale" in case else {}
            out = pipe(PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=scale,
                       latents=latents.clone(), height=8 * latents.shape[2], width=8 * latents.shape[3],
                       output_type="latent", **case.get("pag", {}), **more).images
    return out, len(pipe.scheduler.timesteps)


def main():
    OUT.mkdir(exist_ok=True)
    known = {e["name"]: e for e in json.loads((OUT / "index.json").read_text())["cases"]} if sys.argv[1:] else {}
    for name, case in CASES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        height, width = case.get("size", (8, 8))
        start = f"initial_latents_1x4x{height}x{width}.safetensors"
        latents = load_file(HERE / start)["latents"]
        out, iterations = run(case, latents)
        shaken, _ = run(case, latents, shake=True)
        args = [PROMPT, "--negative-prompt", NEGATIVE, "--steps", str(STEPS), "--dtype", "fp32",
                "--width", str(8 * width), "--height", str(8 * height),
                "--guidance-scale", str(case.get("guidance_scale", 7.5))]
        for key, value in case.get("pag", {}).items():
            args += ["--" + key.replace("_", "-"), str(value)]
        if "layers" in case:
            args += ["--pag-applied-layers", ",".join(case["layers"])]
        if "freeu" in case:
            args += ["--freeu", ",".join(f"{k}={v}" for k, v in case["freeu"].items())]
        if "rescale" in case:
            args += ["--guidance-rescale", str(case["rescale"])]
        if "middle" in case:
            args += ["--middle-prompt", MIDDLE, "--middle-guidance-scale", str(case["middle"])]
        save_tensors(OUT / f"{name}.safetensors", {"latents": out})
        known[name] = {"name": name, "model": case["model"], "args": args, "initial_latents": start,
                       "iterations": iterations, "jitter": float(f"{relative_l2(shaken, out):.3g}")}
        print(name, known[name]["jitter"])
    write_json(OUT / "index.json", {"cases": [known[name] for name in CASES]})


if __name__ == "__main__":
    main()
