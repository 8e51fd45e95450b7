#!/usr/bin/env python3
"""Trains a ControlNet for the demo model: pictures that follow the edges of another.

The hints are Canny edges of the drawn scenes at the default thresholds of `easel preprocess canny`
(cv2.Canny(picture, 100, 200), which easel matches to the bit).  The network is a copy of the first half of the UNet
with an embedding of the hint, as in Zhang et al. 2023, but without attention on the way down: edges say where things
are, and what they are the UNet reads itself.  The UNet stays as it is.

The stages, each of which leaves its result in the run folder (--out) and is skipped when that is there:

    pool      draw the pictures
    latents   encode them once
    train     the control network, on latents, fresh captions and hints
    export    write the diffusers folder in fp16
    evaluate  edges of hints against edges of pictures from new prompts, with diffusers

    python demo/train_control_net.py --out runs/control
"""

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

import scenes
import train
from muon import Muon, split

POOL_SIZE = 10000
CANNY = (100, 200)
EMBEDDING = (8, 16, 32, 96)      # channels of the hint's embedding, at 1, 1/2, 1/4 and 1/8 of the picture's size
BATCH, LR, LR_END, WARMUP = 16, 1.5e-3, 3e-5, 100
NO_PROMPT = 0.4                  # share of examples whose caption is dropped, so that edges alone say something too
TOLERANCE = 1                    # pixels (in a square) that an edge may be off
LOG_EVERY = 25
SAMPLE_SECONDS = 600


def hints_of(pictures):
    """(n, h, w, 3) bytes to edges, (n, h, w) bytes, white on black."""
    return np.stack([cv2.Canny(np.ascontiguousarray(p), *CANNY) for p in pictures])


def to_condition(hints):
    """Edges to what the network takes: (n, 3, h, w) in [0, 1]."""
    return torch.from_numpy(hints).float().div_(255.0)[:, None].expand(-1, 3, -1, -1).contiguous()


def agreement(wanted, found, tolerance=TOLERANCE):
    """F1 of two sets of edges, (h, w) bytes: an edge pixel is right where the other set has one near it."""
    kernel = np.ones((2 * tolerance + 1,) * 2, np.uint8)
    wanted, found = wanted > 0, found > 0
    if not wanted.any() or not found.any():
        return float(wanted.any() == found.any())
    near_wanted, near_found = (cv2.dilate(e.astype(np.uint8), kernel) > 0 for e in (wanted, found))
    precision, recall = near_wanted[found].mean(), near_found[wanted].mean()
    return float(2 * precision * recall / max(1e-9, precision + recall))


# --------------------------------------------------------------------------
# The network
# --------------------------------------------------------------------------

def new_control_net(unet):
    """As ControlNetModel.from_unet, but with plain down blocks: their attention has no place in it."""
    from diffusers import ControlNetModel
    c = unet.config
    net = ControlNetModel(
        in_channels=c.in_channels, down_block_types=("DownBlock2D",) * len(c.down_block_types),
        mid_block_type=c.mid_block_type, block_out_channels=c.block_out_channels, layers_per_block=c.layers_per_block,
        cross_attention_dim=c.cross_attention_dim, attention_head_dim=c.attention_head_dim,
        norm_num_groups=c.norm_num_groups, norm_eps=c.norm_eps, conditioning_embedding_out_channels=EMBEDDING)
    own = net.state_dict()
    shared = {k: v for k, v in unet.state_dict().items() if k in own and not k.startswith("control")}
    missing, unexpected = net.load_state_dict(shared, strict=False)
    assert not unexpected and all(k.startswith("controlnet_") for k in missing), missing
    return net


def load_pipeline(model, net=None):
    from diffusers import StableDiffusionControlNetPipeline, StableDiffusionPipeline
    kind, parts = (StableDiffusionControlNetPipeline, dict(controlnet=net)) if net else (StableDiffusionPipeline, {})
    pipeline = kind.from_pretrained(str(model), torch_dtype=torch.float32, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# --------------------------------------------------------------------------
# Stages
# --------------------------------------------------------------------------

def make_latents(args):
    path = args.out / "latents.npy"
    if path.exists():
        return
    from diffusers import AutoencoderKL
    vae = AutoencoderKL.from_pretrained(str(args.model / "vae"), torch_dtype=torch.float32)
    started = time.time()
    np.save(path, train.encode(vae, np.load(args.out / "pool.npy", mmap_mode="r"), args.bf16))
    train.log(args.out, f"latents: in {time.time() - started:.0f} s")


def make_scenes(count, seed):
    """Scenes that training never saw: prompts, pictures and hints."""
    rng = np.random.default_rng([seed, 8])
    listed = [scenes.sample_scene(rng, held_out=True) for _ in range(count)]
    texts = [scenes.caption(scene, rng, thorough=True)[0] for scene in listed]
    pictures = np.stack([scenes.draw(scene, rng) for scene in listed])
    return texts, pictures, hints_of(pictures)


def draw_pictures(pipeline, texts, hints, args, scale=1.0, first_seed=1):
    """The pictures of prompts, with hints where the pipeline is one that takes them."""
    made = []
    for i in range(0, len(texts), 16):
        some = slice(i, min(i + 16, len(texts)))
        extra = dict(image=to_condition(hints[some]), controlnet_conditioning_scale=scale) if hints is not None else {}
        seeds = [torch.Generator().manual_seed(first_seed + k) for k in range(some.start, some.stop)]
        made.append(pipeline(texts[some], num_inference_steps=20, guidance_scale=args.guidance, output_type="np",
                             generator=seeds, **extra).images)
    return (np.concatenate(made) * 255).round().astype(np.uint8)


def sheet(path, *rows):
    pictures = [np.repeat(r[..., None], 3, -1) if r.ndim == 3 else r for r in rows]
    Image.fromarray(scenes.grid(np.concatenate(pictures), len(rows[0]))).save(path)


def train_control_net(args):
    if (args.out / "control.done").exists():
        return
    torch.manual_seed(args.seed)
    listed = train.load_scenes(args.out)
    latents = torch.from_numpy(np.load(args.out / "latents.npy", mmap_mode="r")[:args.pool])
    pool = np.load(args.out / "pool.npy", mmap_mode="r")[:len(latents)]
    base = load_pipeline(args.model)
    unet, text_encoder, tokenizer = base.unet, base.text_encoder, base.tokenizer
    unet.requires_grad_(False)
    net = new_control_net(unet)
    optimizer = Muon(*split(net.named_parameters(), ("controlnet_down_blocks", "controlnet_mid_block", "time_emb_proj",
                                                     "cond_embedding.conv_out")), lr=LR)
    average = train.Average(net.parameters(), 0.995)
    progress = train.Progress(args.steps, args.minutes)
    checkpoint = args.out / "control.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.shadow = state["average"]
        progress = train.Progress(args.steps, args.minutes, state["step"], state["elapsed"])
        train.log(args.out, f"control: resumed at step {progress.step}")
    train.log(args.out, f"control: {sum(p.numel() for p in net.parameters()) / 1e6:.3f} M parameters")
    test_texts, test_pictures, test_hints = make_scenes(8, args.seed)
    diffusion = train.Diffusion()
    saved = logged = sampled = time.monotonic()
    total = 0.0
    while progress.fraction < 1.0:
        rng = np.random.default_rng([args.seed, 7, progress.step])
        source = torch.Generator().manual_seed(int(rng.integers(2 ** 62)))
        picks = rng.integers(len(latents), size=BATCH)
        texts, _ = train.captions_of([listed[i] for i in picks], rng)
        texts = ["" if rng.random() < NO_PROMPT else text for text in texts]
        condition = to_condition(hints_of([pool[i] for i in picks]))
        noisy, t, target, weight = diffusion(latents[picks].float(), source)
        for group in optimizer.param_groups:
            group["lr"] = progress.lr(LR, LR_END, WARMUP)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            with torch.no_grad():
                context = text_encoder(train.tokens_of(tokenizer, texts))[0]
            down, middle = net(noisy, t, context, condition, return_dict=False)
            v = unet(noisy, t, context, down_block_additional_residuals=down, mid_block_additional_residual=middle,
                     return_dict=False)[0]
        loss = ((v.float() - target).square().mean((1, 2, 3)) * weight).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        progress.tick()
        average.update(progress.step)
        total += loss.item()
        now = time.monotonic()
        if progress.step % LOG_EVERY == 0:
            train.log(args.out, f"control: step {progress.step} ({progress.fraction:.3f}) loss {total / LOG_EVERY:.5f} "
                                f"{(now - logged) / LOG_EVERY:.3f} s/step")
            logged, total = now, 0.0
        done = progress.fraction >= 1.0
        if now - saved > train.CHECKPOINT_SECONDS or done or train.StopRequest.asked:
            saved = now
            train.save_atomically(dict(model=net.state_dict(), optimizer=optimizer.state_dict(), average=average.shadow,
                                       step=progress.step, elapsed=progress.elapsed), checkpoint)
            with average:
                train.save_atomically(net.state_dict(), args.out / "control_ema.pt")
            if train.StopRequest.asked:
                sys.exit(f"stopped at step {progress.step}")
        if now - sampled > SAMPLE_SECONDS or done:
            with average, torch.no_grad():
                made = draw_pictures(load_pipeline(args.model, net), test_texts, test_hints, args)
            sheet(args.out / f"sample_{progress.step:05d}.png", test_pictures, test_hints, made)
            scores = [agreement(a, b) for a, b in zip(test_hints, hints_of(made))]
            train.log(args.out, f"control: edges agree {np.mean(scores):.3f} at step {progress.step}")
            sampled = logged = time.monotonic()
    (args.out / "control.done").write_text(f"{progress.step} steps\n")


def export(args):
    from safetensors.torch import save_file
    base = load_pipeline(args.model)
    net = new_control_net(base.unet)
    net.load_state_dict(torch.load(args.out / "control_ema.pt", weights_only=True))
    args.folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(net.to_json_string())
    config.pop("_name_or_path", None)
    (args.folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    path = args.folder / "diffusion_pytorch_model.safetensors"
    save_file({k: v.detach().half().contiguous() for k, v in net.state_dict().items()}, path, metadata={"format": "pt"})
    train.log(args.out, f"export: {path.stat().st_size / 1e6:.2f} MB to {args.folder}")


def evaluate(args):
    from diffusers import AutoencoderKL, ControlNetModel
    net = ControlNetModel.from_pretrained(str(args.folder), torch_dtype=torch.float32)
    texts, pictures, hints = make_scenes(args.count, args.seed + 1)
    vae = AutoencoderKL.from_pretrained(str(args.model / "vae"), torch_dtype=torch.float32)

    def through_vae(some):
        with torch.no_grad():
            return train.to_pictures(vae.decode(vae.encode(train.to_tensor(some)).latent_dist.mode()).sample)

    decoded = np.concatenate([through_vae(pictures[i:i + 8]) for i in range(0, len(pictures), 8)])
    with_control = load_pipeline(args.model, net)
    rows = {"with the edges": draw_pictures(with_control, texts, hints, args),
            "with half the weight": draw_pictures(with_control, texts, hints, args, scale=0.5),
            "with the edges, without a prompt": draw_pictures(with_control, [""] * len(texts), hints, args),
            "without control": draw_pictures(load_pipeline(args.model), texts, None, args),
            "scenes through the autoencoder": decoded}
    lines = ["| pictures | F1, 1 pixel off at most | F1, 2 pixels |", "|---|---:|---:|"]
    for name, made in rows.items():
        found = hints_of(made)
        means = [np.mean([agreement(a, b, k) for a, b in zip(hints, found)]) for k in (1, 2)]
        lines.append(f"| {name} | {means[0]:.3f} | {means[1]:.3f} |")
    sheet(args.out / "evaluation.png", hints[:12], *(made[:12] for made in rows.values()))
    table = "\n".join(lines) + "\n"
    (args.out / "table.md").write_text(table)
    print(table)


def main():
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="run folder: data, checkpoints, log, samples")
    parser.add_argument("--stage", default="all", choices=("all", "pool", "latents", "train", "export", "evaluate"))
    parser.add_argument("--model", type=Path, default=here / "model", help="the model folder to train for")
    parser.add_argument("--folder", type=Path, default=here / "control_net", help="what export writes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=int, default=POOL_SIZE, help="pictures to draw")
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="train in fp32 only")
    parser.add_argument("--steps", type=int, default=1150)
    parser.add_argument("--minutes", type=float, help="end the train stage after this time instead")
    parser.add_argument("--count", type=int, default=64, help="evaluate: pictures")
    parser.add_argument("--guidance", type=float, default=4.0, help="guidance scale of the pictures")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    train.StopRequest.listen()
    stages = dict(pool=train.make_pool, latents=make_latents, train=train_control_net, export=export, evaluate=evaluate)
    for name, stage in stages.items():
        if args.stage in ("all", name):
            stage(args)


if __name__ == "__main__":
    main()
