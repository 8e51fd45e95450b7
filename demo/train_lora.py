#!/usr/bin/env python3
"""Trains a style for the demo model: a LoRA that makes it print linocuts in four inks.

The pictures are those of demo/scenes.py, their captions too; `linocut` turns each
picture into a print, and the LoRA learns that prints are what captions mean.  No
trigger word: whenever the LoRA is in, the picture is a print.

The stages, each of which leaves its result in the run folder (--out) and is skipped
when that is there:

    pool      draw the pictures, print them
    encoder   teach the autoencoder's encoder what latents its decoder prints well from
    latents   encode the prints once
    lora      low-rank changes of the UNet's linear layers and convolutions
    export    write the file in fp16, in the names of diffusers and peft

    python demo/train_lora.py --out runs/lora
"""

import argparse
import math
import re
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.utils import parametrize

import scenes
import train
from muon import Muon, split

POOL_SIZE = 3000
LATENTS = 2000               # so many of them are encoded for the LoRA
HELD_OUT = 16

# The inks from dark to light, and the values between which the press changes from one to the next.
INKS = np.array([(22, 27, 66), (206, 66, 50), (240, 150, 62), (250, 234, 196)], np.float32)
THRESHOLDS = (0.34, 0.52, 0.68)
EDGE = 12.0                  # steepness there: about two pixels of transition keep what f8 latents can hold
GRAIN, WIDE = 0.6, 8.0       # blurs in pixels: of what is too fine to cut, of what counts as surroundings
RELIEF = 1.5                 # how much a difference from the surroundings counts

ENCODER_STEPS, ENCODER_BATCH, ENCODER_CROP, ENCODER_LR = 300, 8, 64, 2e-3

RANK = 8
LAYERS = (r"conv_in|conv_out|"
          r".*\.(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out|conv1|conv2|conv)")
BATCH, LR, LR_END, WARMUP = 16, 2e-3, 1e-4, 30
PROMPTS = ("a red balloon over green hills at sunset", "a white house in front of snowy mountains at noon",
           "a yellow boat on the sea at dawn", "the city at night under a starry sky",
           "a blue car in the desert at night under the stars",
           "a purple tree on the left in front of green hills at dawn",
           "an orange flower in the city at noon with clouds", "mountains at sunset under the sun")
LOG_EVERY = 25


# --------------------------------------------------------------------------
# The style
# --------------------------------------------------------------------------

def blur(x, sigma):
    """Gaussian blur of (h, w), the edge going on outside."""
    radius = int(math.ceil(3 * sigma))
    kernel = np.exp(-np.arange(-radius, radius + 1) ** 2 / (2 * sigma * sigma)).astype(np.float32)
    kernel /= kernel.sum()
    for axis in (0, 1):
        x = np.apply_along_axis(lambda line: np.convolve(np.pad(line, radius, mode="edge"), kernel, "valid"), axis, x)
    return x


def linocut(picture):
    """An (h, w, 3) uint8 picture as a print: brightness against the picture and its surroundings picks the ink."""
    light = blur(picture.astype(np.float32) @ np.array((0.299, 0.587, 0.114), np.float32) / 255.0, GRAIN)
    value = (0.5 + 0.18 * (light - light.mean()) / (light.std() + 0.05) + 0.35 * (light.mean() - 0.5)
             + RELIEF * (light - blur(light, WIDE)))
    print_ = np.broadcast_to(INKS[0], picture.shape)
    for ink, threshold in zip(INKS[1:], THRESHOLDS):
        cover = np.clip(EDGE * (value - threshold) + 0.5, 0.0, 1.0)[..., None]
        print_ = print_ + (ink - print_) * cover
    return np.rint(print_).astype(np.uint8)


# --------------------------------------------------------------------------
# Stages
# --------------------------------------------------------------------------

def load_vae(model):
    from diffusers import AutoencoderKL
    return AutoencoderKL.from_pretrained(str(model / "vae"), torch_dtype=torch.float32)


def make_prints(args):
    train.make_pool(args)
    path = args.out / "prints.npy"
    if not path.exists():
        np.save(path, np.stack([linocut(p) for p in np.load(args.out / "pool.npy", mmap_mode="r")]))


def train_encoder(args):
    """Reconstruction through the frozen decoder.

    The autoencoder has never seen a print, and its encoder's guess decodes to muddy colours.  The decoder does better
    from other latents, and that is all a LoRA needs: it is trained to make latents, the model's decoder stays.
    """
    path = args.out / "encoder.pt"
    if path.exists():
        return
    torch.manual_seed(args.seed)
    prints = np.load(args.out / "prints.npy", mmap_mode="r")
    held_out, prints = train.to_tensor(prints[-HELD_OUT:]), prints[:-HELD_OUT]
    vae = load_vae(args.model).requires_grad_(False)
    for module in (vae.encoder, vae.quant_conv):
        module.requires_grad_(True)
    optimizer = Muon(*split([(n, p) for n, p in vae.named_parameters() if p.requires_grad]), lr=ENCODER_LR)
    progress = train.Progress(args.encoder_steps, None)

    def quality():
        with torch.no_grad():
            y = vae.decode(vae.encode(held_out).latent_dist.mode()).sample
        pairs = np.stack([train.to_pictures(held_out), train.to_pictures(y)], 1)
        Image.fromarray(scenes.grid(pairs.reshape(-1, *pairs.shape[2:]), 8)).save(args.out / "encoder.png")
        return 10 * math.log10(4 / (y.clamp(-1, 1) - held_out).square().mean().item())

    train.log(args.out, f"encoder: {quality():.1f} dB on prints before training")
    while progress.fraction < 1.0:
        rng = np.random.default_rng([args.seed, 5, progress.step])
        corners = rng.integers(scenes.SIZE - ENCODER_CROP + 1, size=(ENCODER_BATCH, 2))
        x = train.to_tensor(np.stack([prints[i, y:y + ENCODER_CROP, x:x + ENCODER_CROP]
                                      for i, (y, x) in zip(rng.integers(len(prints), size=ENCODER_BATCH), corners)]))
        for group in optimizer.param_groups:
            group["lr"] = progress.lr(ENCODER_LR, ENCODER_LR / 30, 20)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            posterior = vae.encode(x).latent_dist
            reconstruction = vae.decode(posterior.mode()).sample
        # Latents wilder than the UNet's own, of unit variance, would be harder to make.
        excess = ((posterior.mean.float() * train.SCALING_FACTOR).square().mean() - 1.0).clamp(min=0.0)
        loss = train.vae_loss(reconstruction, x, posterior)[0] + 0.05 * excess
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        progress.tick()
        if progress.step % LOG_EVERY == 0:
            train.log(args.out, f"encoder: step {progress.step} loss {loss.item():.4f}")
        if train.StopRequest.asked:
            sys.exit(f"stopped at step {progress.step}")
    train.log(args.out, f"encoder: {quality():.1f} dB on prints after training")
    train.save_atomically(vae.state_dict(), path)


def make_latents(args):
    path = args.out / "print_latents.npy"
    if path.exists():
        return
    vae = load_vae(args.model)
    vae.load_state_dict(torch.load(args.out / "encoder.pt", weights_only=True))
    latents = train.encode(vae, np.load(args.out / "prints.npy", mmap_mode="r")[:LATENTS], args.bf16)
    np.save(path, latents)
    means = latents[:, :4].astype(np.float32)
    mean, std = means.mean((0, 2, 3)), means.std((0, 2, 3))
    train.log(args.out, f"latents: mean {mean.round(2).tolist()} std {std.round(2).tolist()}")


def load_pipeline(model):
    from diffusers import StableDiffusionPipeline
    pipeline = StableDiffusionPipeline.from_pretrained(str(model), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class LowRank(torch.nn.Module):
    """W + weight · up · down, with the convolution's kernel flattened into down: what LoRA and LoCon add.

    As a parametrization of the layer's weight, it costs as much as training the layer itself; a branch of narrow
    convolutions beside it, the same in the end, takes four times as long on a processor.
    """

    def __init__(self, weight, rank):
        super().__init__()
        self.down = torch.nn.Parameter(torch.empty(rank, weight[0].numel()))
        self.up = torch.nn.Parameter(torch.zeros(weight.shape[0], rank))
        torch.nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.weight = 1.0

    def forward(self, original):
        return original + self.weight * (self.up @ self.down).view_as(original)


def add_lora(unet, rank):
    """Puts a LowRank on every layer of LAYERS: {name of the layer: LowRank}."""
    unet.requires_grad_(False)
    added = {}
    for name, module in list(unet.named_modules()):
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and re.fullmatch(LAYERS, name):
            added[name] = LowRank(module.weight, rank)
            parametrize.register_parametrization(module, "weight", added[name])
    return added


def sheet(args, pipeline, lora, name, weights=(0.0, 0.5, 1.0)):
    """The sample prompts, one row per weight of the LoRA."""
    pictures = []
    for weight in weights:
        for layer in lora.values():
            layer.weight = weight
        pictures.append(pipeline(list(PROMPTS), num_inference_steps=20, guidance_scale=args.guidance, output_type="np",
                                 generator=torch.Generator().manual_seed(0)).images)
    for layer in lora.values():
        layer.weight = 1.0
    pictures = (np.concatenate(pictures) * 255).round().astype(np.uint8)
    Image.fromarray(scenes.grid(pictures, len(PROMPTS))).save(args.out / name)


def train_lora(args):
    if (args.out / "lora_ema.pt").exists():
        return
    torch.manual_seed(args.seed)
    listed = train.load_scenes(args.out)
    latents = torch.from_numpy(np.load(args.out / "print_latents.npy"))
    pipeline = load_pipeline(args.model)
    unet, text_encoder = pipeline.unet, pipeline.text_encoder
    lora = add_lora(unet, args.rank)
    parameters = [p for layer in lora.values() for p in layer.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LR, betas=(0.9, 0.99), weight_decay=0.0)
    average = train.Average(parameters, 0.98)
    progress = train.Progress(args.steps, args.minutes)
    checkpoint = args.out / "lora.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        with torch.no_grad():
            torch._foreach_copy_(parameters, state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.shadow = state["average"]
        progress = train.Progress(args.steps, args.minutes, state["step"], state["elapsed"])
        train.log(args.out, f"lora: resumed at step {progress.step}")
    train.log(args.out, f"lora: {sum(p.numel() for p in parameters) / 1e6:.3f} M parameters")
    diffusion = train.Diffusion()
    saved = logged = time.monotonic()
    total = 0.0
    while progress.fraction < 1.0:
        rng = np.random.default_rng([args.seed, 6, progress.step])
        source = torch.Generator().manual_seed(int(rng.integers(2 ** 62)))
        picks = rng.integers(len(latents), size=BATCH)
        texts, _ = train.captions_of([listed[i] for i in picks], rng)
        noisy, t, target, weight = diffusion(latents[picks].float(), source)
        for group in optimizer.param_groups:
            group["lr"] = progress.lr(LR, LR_END, WARMUP)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            with torch.no_grad():
                context = text_encoder(train.tokens_of(pipeline.tokenizer, texts))[0]
            v = unet(noisy, t, context, return_dict=False)[0]
        loss = ((v.float() - target).square().mean((1, 2, 3)) * weight).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        progress.tick()
        average.update(progress.step)
        total += loss.item()
        now = time.monotonic()
        if progress.step % LOG_EVERY == 0:
            train.log(args.out, f"lora: step {progress.step} ({progress.fraction:.3f}) loss {total / LOG_EVERY:.5f} "
                                f"{(now - logged) / LOG_EVERY:.3f} s/step")
            logged, total = now, 0.0
        done = progress.fraction >= 1.0
        if now - saved > train.CHECKPOINT_SECONDS or done or train.StopRequest.asked:
            saved = now
            train.save_atomically(dict(model=[p.detach() for p in parameters], average=average.shadow,
                                       optimizer=optimizer.state_dict(), step=progress.step,
                                       elapsed=progress.elapsed), checkpoint)
            if train.StopRequest.asked:
                sys.exit(f"stopped at step {progress.step}")
            with average, torch.no_grad():
                sheet(args, pipeline, lora, f"sample_{progress.step:05d}.png")
    train.save_atomically(average.shadow, args.out / "lora_ema.pt")


def export(args):
    from safetensors.torch import save_file
    unet = load_pipeline(args.model).unet
    lora = add_lora(unet, args.rank)
    values = iter(torch.load(args.out / "lora_ema.pt", weights_only=True))
    tensors = {}
    for name, layer in lora.items():
        down, up = next(values), next(values)
        shape = unet.get_submodule(name).weight.shape
        tensors[f"unet.{name}.lora_A.weight"] = down.view(-1, *shape[1:])
        tensors[f"unet.{name}.lora_B.weight"] = up.view(*up.shape, *[1] * (len(shape) - 2))
    tensors = {name: value.half().contiguous() for name, value in tensors.items()}
    args.file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, args.file, metadata={  # no alpha: it is the rank
        "format": "pt",
        "modelspec.sai_model_spec": "1.0.0", "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "easel demo: linocut",
        "modelspec.description": "A LoRA for easel's demo model: prints in four inks. No trigger word.",
        "modelspec.license": "Apache-2.0", "modelspec.prediction_type": "v"})
    train.log(args.out, f"export: {args.file.stat().st_size / 1e6:.2f} MB to {args.file}")


def main():
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="run folder: data, checkpoints, log, samples")
    parser.add_argument("--model", type=Path, default=here / "model", help="the model folder to train for")
    parser.add_argument("--file", type=Path, default=here / "lora" / "linocut.safetensors", help="what export writes")
    parser.add_argument("--seed", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=int, default=POOL_SIZE, help="pictures to draw")
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="train in fp32 only")
    parser.add_argument("--encoder-steps", type=int, default=ENCODER_STEPS)
    parser.add_argument("--steps", type=int, default=430)
    parser.add_argument("--minutes", type=float, help="end the lora stage after this time instead")
    parser.add_argument("--guidance", type=float, default=4.0, help="guidance scale of the sample pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    train.StopRequest.listen()
    for stage in (make_prints, train_encoder, make_latents, train_lora, export):
        stage(args)


if __name__ == "__main__":
    main()
