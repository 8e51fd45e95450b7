#!/usr/bin/env python3
"""How much bf16 changes pictures: easel's beside diffusers' on the demo model.

    python3 bench/peers/bf16_quality.py --easel build/bin/easel

Draws the same prompts (of the demo's evaluation) from the same noise in fp32 and in bf16 with both
engines. Prints, per engine, the PSNR of its bf16 pictures against its own fp32 ones, worst and
median, and for the first prompt the relative L2 of the latents after every step. Exit status 1
where easel's worst picture is more than 1 dB below diffusers' worst. Needs torch and diffusers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
ALLOWED_LOSS = 1.0  # dB


def psnr(a, b):
    """Of pictures in 0 … 1."""
    return 10 * np.log10(1 / max(np.mean((a - b) ** 2), 1e-20))


def relative(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def pictures_of(trace):
    return np.clip(trace["decoded"] / 2 + 0.5, 0, 1)


def run_easel(args, prompts, noise, dtype, work):
    """One trace per prompt: latents.0 …, decoded."""
    from safetensors.numpy import load_file, save_file

    latents = work / "noise.safetensors"
    save_file({"latents": noise}, latents)
    traces = []
    for prompt in prompts:
        trace = work / "trace.safetensors"
        subprocess.run([args.easel, "generate", prompt, "--model", args.model, "--dtype", dtype, "--steps", str(args.steps),
                        "--guidance-scale", str(args.guidance_scale), "--initial-latents", latents, "--trace", trace,
                        "--out-dir", work / "pictures", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        traces.append(load_file(trace))
    return traces


def run_diffusers(args, prompts, noise, dtype):
    import torch
    from diffusers import StableDiffusionPipeline

    torch.set_num_threads(args.threads)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    pipe = StableDiffusionPipeline.from_pretrained(args.model, torch_dtype=kind, safety_checker=None,
                                                   requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    traces = []
    for prompt in prompts:
        trace = {}

        def keep(pipe, step, timestep, values):
            trace[f"latents.{step}"] = values["latents"].float().numpy().copy()
            return values

        with torch.no_grad():
            latents = pipe(prompt, num_inference_steps=args.steps, guidance_scale=args.guidance_scale,
                           latents=torch.from_numpy(noise).to(kind), output_type="latent", callback_on_step_end=keep).images
            decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
        trace["decoded"] = decoded.float().numpy()
        traces.append(trace)
    return traces


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--easel", default=str(ROOT / "build/bin/easel"), help="path of the easel command")
    parser.add_argument("--model", default=str(ROOT / "demo/model"))
    parser.add_argument("--prompts", type=Path, help="file with one prompt per line (default: the demo's evaluation)")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.prompts:
        prompts = [line for line in args.prompts.read_text().splitlines() if line.strip()][:args.count]
    else:
        sys.path.insert(0, str(ROOT / "demo"))
        from evaluate import PROMPT_SEED, make_prompts
        prompts = [p["prompt"] for p in make_prompts(args.count, PROMPT_SEED)]
    config = json.loads((Path(args.model) / "unet" / "config.json").read_text())
    size = config["sample_size"]
    noise = np.random.default_rng(0).standard_normal((1, config["in_channels"], size, size)).astype(np.float32)

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in (("easel", lambda dtype: run_easel(args, prompts, noise, dtype, Path(folder))),
                          ("diffusers", lambda dtype: run_diffusers(args, prompts, noise, dtype))):
            full, narrow = run("fp32"), run("bf16")
            results[name] = full, narrow
    figures = {}
    print("| engine | worst PSNR | median PSNR | latents of the first prompt, step by step |\n|---|---:|---:|---|")
    for name, (full, narrow) in results.items():
        values = [psnr(pictures_of(a), pictures_of(b)) for a, b in zip(narrow, full)]
        steps = [relative(narrow[0][f"latents.{i}"], full[0][f"latents.{i}"]) for i in range(args.steps)]
        figures[name] = dict(worst=min(values), median=float(np.median(values)), psnr=values, latents=steps)
        shown = ", ".join(f"{x:.1e}" for x in steps[::max(1, args.steps // 5)])
        print(f"| {name} bf16 | {min(values):.1f} dB | {np.median(values):.1f} dB | {shown} |")
    same = max(relative(a["decoded"], b["decoded"]) for a, b in zip(results["easel"][0], results["diffusers"][0]))
    print(f"\neasel fp32 against diffusers fp32: relative L2 of decoded pictures at most {same:.1e}")
    figures["fp32_relative_l2"] = same
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    loss = figures["diffusers"]["worst"] - figures["easel"]["worst"]
    if loss > ALLOWED_LOSS:
        sys.exit(f"easel's worst picture is {loss:.1f} dB below diffusers' worst; allowed are {ALLOWED_LOSS}")


if __name__ == "__main__":
    main()
