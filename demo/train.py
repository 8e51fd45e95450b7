#!/usr/bin/env python3
"""Trains the demo model: a small, complete Stable Diffusion, on a CPU.

Six stages, each of which leaves its result in the run folder (--out) and is
skipped or resumed when that is already there:

    pool      draw the training pictures (demo/scenes.py)
    vae       the f8 autoencoder, on random crops, then on whole pictures
    latents   scale the autoencoder's latents to unit variance, encode the pool once
    text      the text encoder learns to read: attributes of the scene from its last tokens
    unet      UNet and text encoder together, on latents and fresh captions
    export    write the diffusers folder in fp16

The tokenizer of the model folder is made by demo/vocabulary.py; the unet stage
makes it when it is missing.  Everything is seeded.  A stage ends after a number
of steps, or with --*-minutes after a time, and its learning rate follows
whichever of the two was asked for.  A run that was stopped goes on from its
last checkpoint when the same command is given again.

    python demo/train.py --out runs/demo --stage all
    python demo/train.py --out runs/demo --stage export --model demo/model
"""

import argparse
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import scenes
import vocabulary
from muon import Muon, split

POOL_SIZE = 20000
POOL_CHUNK = 500

VAE_CONFIG = dict(
    in_channels=3, out_channels=3, latent_channels=4, sample_size=scenes.SIZE,
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(32, 64, 96, 128), layers_per_block=1, norm_num_groups=16,
)
VAE_LR, VAE_LR_END = 5e-3, 3e-5
VAE_BATCH, VAE_CROP = 8, 64
VAE_WHOLE_FROM = 0.85        # the last part of training sees whole pictures
VAE_WHOLE_BATCH = 3
VAE_KL = 1e-3                # per latent number, against a loss of per-pixel means
VAE_EDGES = 0.5              # weight of the error of the picture's gradients
VAE_TEST_EVERY = 250
VAE_LOGVAR = -6.0            # where the posterior's log variance starts

TEXT_CONFIG = dict(
    vocab_size=vocabulary.VOCABULARY_SIZE, hidden_size=128, intermediate_size=512, num_hidden_layers=3,
    num_attention_heads=4, max_position_embeddings=vocabulary.MAX_LENGTH, projection_dim=128, hidden_act="quick_gelu",
    bos_token_id=vocabulary.VOCABULARY_SIZE - 2, eos_token_id=vocabulary.VOCABULARY_SIZE - 1,
    pad_token_id=vocabulary.VOCABULARY_SIZE - 1,
)
# Attention only from 8x8 down: at 16x16 it costs half the training time.
UNET_CONFIG = dict(
    sample_size=16, in_channels=4, out_channels=4, block_out_channels=(96, 160), layers_per_block=1,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), mid_block_type="UNetMidBlock2DCrossAttn",
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=128, attention_head_dim=4,
)
SCHEDULER_CONFIG = dict(
    num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
    prediction_type="v_prediction", algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint",
    # The last step is pure noise and sampling begins there: otherwise a hint of the picture always shines through in
    # training, the model learns to see the layout in noise, and does not listen to "on the left".
    rescale_betas_zero_snr=True, timestep_spacing="trailing",
)
LATENT_BATCH = 8             # small, so that activations stay in the cache: three times as fast as 50
SCALING_FACTOR = 0.18215     # the usual one; the latents stage makes it fit
UNET_LR, UNET_LR_END = 3e-3, 3e-5
UNET_BATCH = 32
UNET_WARMUP = 100
TEXT_LR, TEXT_LR_END = 2e-3, 1e-4
TEXT_BATCH = 64
READING = 0.05               # weight of the attributes' cross entropy while the UNet is trained
EMPTY_CAPTIONS = 0.10        # share of empty captions, for guidance
MAX_WEIGHT = 6.0             # what little noise adds to the loss stops growing here, see below

SAMPLE_SECONDS = 480
SAMPLE_PROMPTS = (
    "a red balloon over green hills at sunset", "a white house in front of snowy mountains at noon",
    "a blue car in the desert at night under the stars", "a yellow boat on the sea at dawn",
    "an orange flower in the city at noon with clouds", "a purple tree on the left in front of green hills at dawn",
    "a green car on the right in the city at night with a bright moon", "mountains at sunset under the sun",
    "a red boat on a calm sea at night in the moonlight", "a yellow balloon over the desert at noon",
    "a purple balloon on the left over the city at dawn", "a blue house on green hills at noon with the sun shining",
    "a red flower in the middle near sand dunes at sunset", "a white tree on the right by the sea at noon",
    "the city at night under a starry sky", "a green house on the left beside snowy mountains at dawn",
)
CHECKPOINT_SECONDS = 150
LONGEST_STEP = 5.0           # seconds; whatever a step took beyond this was not training
LOG_EVERY = 50


# --------------------------------------------------------------------------
# Shared machinery
# --------------------------------------------------------------------------

def log(out, text):
    line = time.strftime("%H:%M:%S ") + text
    print(line, flush=True)
    with open(out / "log.txt", "a") as f:
        f.write(line + "\n")


def save_atomically(state, path):
    """torch.save that never leaves half a file behind."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


class StopRequest:
    """Set by SIGTERM: the stage saves a checkpoint and the program ends."""

    asked = False

    @classmethod
    def listen(cls):
        def note(*_):
            cls.asked = True
        signal.signal(signal.SIGTERM, note)


class Progress:
    """How far a stage is, from 0 to 1, by steps or by minutes."""

    def __init__(self, steps, minutes, step=0, elapsed=0.0):
        self.steps, self.minutes = steps, minutes
        self.step, self.elapsed = step, elapsed
        self.last = time.monotonic()

    def tick(self):
        now = time.monotonic()
        self.elapsed += min(now - self.last, LONGEST_STEP)      # a stopped process does not get older
        self.last = now
        self.step += 1

    @property
    def fraction(self):
        if self.minutes:
            return min(1.0, self.elapsed / (60.0 * self.minutes))
        return min(1.0, self.step / self.steps)

    def lr(self, peak, end, warmup):
        """Linear warmup, then a cosine from `peak` to `end`."""
        ramp = min(1.0, (self.step + 1) / warmup)
        return ramp * (end + (peak - end) * 0.5 * (1.0 + math.cos(math.pi * self.fraction)))


class Average:
    """An exponential moving average of parameters, kept beside them."""

    def __init__(self, parameters, decay):
        self.decay = decay
        self.parameters = list(parameters)
        self.shadow = [p.detach().clone() for p in self.parameters]
        self.stored = None

    def update(self, step):
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], 1.0 - decay)

    def __enter__(self):
        """Inside a with block the modules carry the averaged weights."""
        self.stored = [p.detach().clone() for p in self.parameters]
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.shadow)

    def __exit__(self, *_):
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.stored)
        self.stored = None


# --------------------------------------------------------------------------
# The pool of pictures
# --------------------------------------------------------------------------

SCENE_FIELDS = tuple(scenes.Scene.__dataclass_fields__)


def _draw_chunk(job):
    seed, index, count = job
    rng = np.random.default_rng([seed, index])
    pictures = np.empty((count, scenes.SIZE, scenes.SIZE, 3), np.uint8)
    listed = []
    for i in range(count):
        scene = scenes.sample_scene(rng)
        pictures[i] = scenes.draw(scene, rng)
        listed.append([getattr(scene, f) for f in SCENE_FIELDS])
    return index, pictures, listed


def make_pool(args):
    path = args.out / "pool.npy"
    if path.exists():
        return
    started = time.time()
    pool = np.lib.format.open_memmap(args.out / "pool.tmp.npy", mode="w+", dtype=np.uint8,
                                     shape=(args.pool, scenes.SIZE, scenes.SIZE, 3))
    jobs = [(args.seed, i, min(POOL_CHUNK, args.pool - i * POOL_CHUNK)) for i in range(-(-args.pool // POOL_CHUNK))]
    listed = [None] * len(jobs)
    with multiprocessing.Pool(args.threads) as workers:
        for index, pictures, rows in workers.imap(_draw_chunk, jobs):
            pool[index * POOL_CHUNK:index * POOL_CHUNK + len(pictures)] = pictures
            listed[index] = rows
    pool.flush()
    (args.out / "pool.json").write_text(json.dumps([row for rows in listed for row in rows]))
    os.replace(args.out / "pool.tmp.npy", path)
    log(args.out, f"pool: {args.pool} pictures in {time.time() - started:.0f} s")


def load_scenes(out):
    return [scenes.Scene(*row) for row in json.loads((out / "pool.json").read_text())]


def to_tensor(pictures):
    """(n, h, w, 3) bytes to (n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0).contiguous()


def to_pictures(tensor):
    """The inverse of to_tensor."""
    return ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


# --------------------------------------------------------------------------
# The autoencoder
# --------------------------------------------------------------------------

def new_vae():
    from diffusers import AutoencoderKL
    vae = AutoencoderKL(**VAE_CONFIG)
    with torch.no_grad():
        vae.quant_conv.weight[4:] *= 0.1
        vae.quant_conv.bias[4:] = VAE_LOGVAR
    return vae


def vae_loss(reconstruction, x, posterior):
    d = reconstruction.float() - x
    edges = (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
    mse = d.square().mean()
    return d.abs().mean() + 2.0 * mse + VAE_EDGES * edges + VAE_KL * kl, mse, kl


def train_vae(args):
    if (args.out / "vae.done").exists():
        return
    torch.manual_seed(args.seed)
    pool = np.load(args.out / "pool.npy", mmap_mode="r")
    vae = new_vae()
    optimizer = Muon(*split(vae.named_parameters(), ("conv_out",)), lr=VAE_LR)
    average = Average(vae.parameters(), 0.998)
    progress = Progress(args.vae_steps, args.vae_minutes)
    checkpoint = args.out / "vae.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.shadow = state["average"]
        progress = Progress(args.vae_steps, args.vae_minutes, state["step"], state["elapsed"])
        log(args.out, f"vae: resumed at step {progress.step}")
    log(args.out, f"vae: {sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters")

    held_out = to_tensor(pool[-16:])
    pool = pool[:-16]
    saved = logged = time.monotonic()
    sums = np.zeros(2)
    while progress.fraction < 1.0:
        rng = np.random.default_rng([args.seed, 1, progress.step])
        whole = progress.fraction >= VAE_WHOLE_FROM
        picks = rng.integers(len(pool), size=VAE_WHOLE_BATCH if whole else VAE_BATCH)
        if whole:
            batch = np.stack([pool[i] for i in picks])
        else:
            corners = rng.integers(scenes.SIZE - VAE_CROP + 1, size=(len(picks), 2))
            batch = np.stack([pool[i, y:y + VAE_CROP, x:x + VAE_CROP] for i, (y, x) in zip(picks, corners)])
        x = to_tensor(batch)
        for group in optimizer.param_groups:
            group["lr"] = progress.lr(VAE_LR, VAE_LR_END, 200)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            posterior = vae.encode(x).latent_dist
            reconstruction = vae.decode(posterior.sample()).sample
        loss, mse, kl = vae_loss(reconstruction, x, posterior)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        progress.tick()
        average.update(progress.step)
        sums += (mse.item(), kl.item())
        if progress.step % LOG_EVERY == 0:
            now = time.monotonic()
            log(args.out, f"vae: step {progress.step} ({progress.fraction:.3f}) mse {sums[0] / LOG_EVERY:.5f} "
                          f"kl {sums[1] / LOG_EVERY:.2f} {(now - logged) / LOG_EVERY:.3f} s/step")
            logged, sums = now, np.zeros(2)
        if time.monotonic() - saved > CHECKPOINT_SECONDS or progress.fraction >= 1.0 or StopRequest.asked:
            saved = time.monotonic()
            save_atomically(dict(model=vae.state_dict(), optimizer=optimizer.state_dict(), average=average.shadow,
                                 step=progress.step, elapsed=progress.elapsed), checkpoint)
            if StopRequest.asked:
                sys.exit(f"stopped at step {progress.step}")
        if progress.step % VAE_TEST_EVERY == 0 or progress.fraction >= 1.0:
            with average, torch.no_grad():
                y = vae.decode(vae.encode(held_out).latent_dist.mode()).sample
                save_atomically(vae.state_dict(), args.out / "vae_ema.pt")
            mse = (y - held_out).square().mean().item()
            log(args.out, f"vae: held-out mse {mse:.5f} (psnr {10 * math.log10(4 / mse):.1f} dB) at step {progress.step}")
            from PIL import Image
            pairs = np.stack([to_pictures(held_out), to_pictures(y)], 1).reshape(-1, scenes.SIZE, scenes.SIZE, 3)
            Image.fromarray(scenes.grid(pairs, 8)).save(args.out / "vae.png")
    (args.out / "vae.done").write_text(f"{progress.step} steps\n")


# --------------------------------------------------------------------------
# Latents
# --------------------------------------------------------------------------

def fold_scale(vae, mean, std):
    """Shift and scale the latents so that SCALING_FACTOR makes them unit normal.

    Both changes go into the 1x1 convolutions around the latents, so the
    autoencoder stays an ordinary one.
    """
    factor = std * SCALING_FACTOR
    with torch.no_grad():
        q, p = vae.quant_conv, vae.post_quant_conv
        q.bias[:4] = (q.bias[:4] - mean) / factor
        q.weight[:4] /= factor.view(4, 1, 1, 1)
        q.bias[4:] -= 2.0 * factor.log()
        p.bias += p.weight[:, :, 0, 0] @ mean
        p.weight *= factor.view(1, 4, 1, 1)


def encode(vae, pictures, bf16=True):
    """What the autoencoder takes (n, h, w, 3) bytes for: scaled means and log variances, (n, 8, h/8, w/8) float16."""
    latents = np.empty((len(pictures), 8, scenes.SIZE // 8, scenes.SIZE // 8), np.float16)
    for i in range(0, len(pictures), LATENT_BATCH):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            d = vae.encode(to_tensor(pictures[i:i + LATENT_BATCH])).latent_dist
        latents[i:i + LATENT_BATCH] = torch.cat([d.mean.float() * SCALING_FACTOR,
                                                 d.logvar.float() + 2 * math.log(SCALING_FACTOR)], 1).numpy()
    return latents


def make_latents(args):
    path = args.out / "latents.npy"
    if path.exists():
        return
    pool = np.load(args.out / "pool.npy", mmap_mode="r")[:args.latents]
    vae = new_vae()
    vae.load_state_dict(torch.load(args.out / "vae_ema.pt", weights_only=True))
    vae.eval()

    def sample(pictures):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            return vae.encode(to_tensor(pictures)).latent_dist.sample().float()

    torch.manual_seed(args.seed)
    z = torch.cat([sample(pool[i:i + LATENT_BATCH]) for i in range(0, min(2000, len(pool)), LATENT_BATCH)])
    mean, std = z.mean((0, 2, 3)), z.std((0, 2, 3))
    log(args.out, f"latents: mean {mean.tolist()} std {std.tolist()}")
    fold_scale(vae, mean, std)
    save_atomically(vae.state_dict(), args.out / "vae_final.pt")

    started = time.time()
    latents = encode(vae, pool, args.bf16)
    np.save(args.out / "latents.tmp.npy", latents)
    os.replace(args.out / "latents.tmp.npy", path)
    log(args.out, f"latents: {len(pool)} in {time.time() - started:.0f} s, std {latents[:, :4].astype(np.float32).std():.3f}, "
                  f"noise {np.exp(0.5 * latents[:, 4:].astype(np.float32)).mean():.4f}")


# --------------------------------------------------------------------------
# UNet and text encoder
# --------------------------------------------------------------------------

def new_unet():
    from diffusers import UNet2DConditionModel
    return UNet2DConditionModel(**UNET_CONFIG)


def new_text_encoder():
    from transformers import CLIPTextConfig, CLIPTextModel
    return CLIPTextModel(CLIPTextConfig(**TEXT_CONFIG))


def new_scheduler():
    from diffusers import DPMSolverMultistepScheduler
    return DPMSolverMultistepScheduler(**SCHEDULER_CONFIG)


def load_tokenizer(model):
    from transformers import CLIPTokenizer
    if not (model / "tokenizer" / "vocab.json").exists():
        vocabulary.write(model / "tokenizer")
    return CLIPTokenizer.from_pretrained(str(model / "tokenizer"))


def tokens_of(tokenizer, texts):
    return torch.tensor(tokenizer(texts, padding="max_length", max_length=vocabulary.MAX_LENGTH,
                                  truncation=True).input_ids)


def make_pipeline(vae, unet, text_encoder, tokenizer):
    from diffusers import StableDiffusionPipeline
    pipeline = StableDiffusionPipeline(
        vae=vae, unet=unet, text_encoder=text_encoder, tokenizer=tokenizer, scheduler=new_scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_folder(folder, unet):
    """Read the UNet's weights from a model folder that export wrote."""
    from safetensors.torch import load_file
    unet.load_state_dict(load_file(folder / "unet" / "diffusion_pytorch_model.safetensors"))


# What a caption can say, and the answers.
ATTRIBUTES = {
    "land": scenes.LANDS, "time": scenes.TIMES, "object": scenes.OBJECTS, "color": ("",) + scenes.COLORS,
    "side": ("",) + scenes.SIDES, **{flag: (False, True) for flag in scenes.SKY_FLAGS},
}


class Reader(torch.nn.Module):
    """Reads a scene's attributes from what the text encoder makes of the tokens after the end.

    Four fifths of the 77 tokens are filling after the end, and they see the whole caption.  Attention spreads over
    them at first, so a UNet learns to follow a text soon if its attributes stand there in plain form.  Only training
    has this part, as CLIP's text encoder has its other half.
    """

    def __init__(self):
        super().__init__()
        self.heads = torch.nn.ModuleDict({a: torch.nn.Linear(TEXT_CONFIG["hidden_size"], len(v)) for a, v in ATTRIBUTES.items()})

    def loss(self, context, ids, listed, said):
        """Cross entropy of the attributes that each caption mentions, and the share that is read right."""
        after = (ids == TEXT_CONFIG["eos_token_id"]).unsqueeze(2)
        summary = (context.float() * after).sum(1) / after.sum(1)
        total, right, count = 0.0, 0, 0
        for name, answers in ATTRIBUTES.items():
            rows = [i for i, words in enumerate(said) if name in words]
            if not rows:
                continue
            truth = torch.tensor([answers.index(getattr(listed[i], name)) for i in rows])
            logits = self.heads[name](summary[rows])
            total = total + F.cross_entropy(logits, truth, reduction="sum")
            right, count = right + (logits.argmax(1) == truth).sum().item(), count + len(rows)
        return total / max(1, count), right / max(1, count)


def captions_of(listed, rng):
    """Captions of scenes, some empty, and what each mentions."""
    pairs = [("", ()) if rng.random() < EMPTY_CAPTIONS else scenes.caption(scene, rng) for scene in listed]
    return [text for text, _ in pairs], [said for _, said in pairs]


def train_text(args):
    path = args.out / "text.pt"
    if path.exists():
        return
    torch.manual_seed(args.seed + 2)
    listed = load_scenes(args.out)
    tokenizer, text_encoder, reader = load_tokenizer(args.model), new_text_encoder(), Reader()
    modules = torch.nn.ModuleDict(dict(text_encoder=text_encoder, reader=reader))
    optimizer = Muon(*split(modules.named_parameters(), ("embedding", "heads")), lr=TEXT_LR)
    progress = Progress(args.text_steps, None)
    sums = np.zeros(2)
    while progress.fraction < 1.0:
        rng = np.random.default_rng([args.seed, 4, progress.step])
        some = [listed[i] for i in rng.integers(len(listed), size=TEXT_BATCH)]
        texts, said = captions_of(some, rng)
        ids = tokens_of(tokenizer, texts)
        for group in optimizer.param_groups:
            group["lr"] = progress.lr(TEXT_LR, TEXT_LR_END, 50)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            context = text_encoder(ids)[0]
        loss, right = reader.loss(context, ids, some, said)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        progress.tick()
        sums += (loss.item(), right)
        if progress.step % LOG_EVERY == 0:
            log(args.out, f"text: step {progress.step} loss {sums[0] / LOG_EVERY:.4f} right {sums[1] / LOG_EVERY:.4f}")
            sums = np.zeros(2)
        if StopRequest.asked:
            sys.exit(f"stopped at step {progress.step}")
    save_atomically(modules.state_dict(), path)


class Diffusion:
    """Makes the noisy examples of a batch: what the UNet sees, and the v that it should predict."""

    def __init__(self):
        self.cumulative = new_scheduler().alphas_cumprod
        snr = self.cumulative / (1 - self.cumulative)
        # An error of v weighs 1 + snr times that error of the picture.  Low noise is
        # held back; high noise keeps its whole weight, for it decides what goes where.
        self.weights = (snr + 1).clamp(max=MAX_WEIGHT) / (snr + 1)

    def __call__(self, moments, source):
        """From (n, 8, h, w) means and log variances: noisy latents, timesteps, v and the errors' weights."""
        n, _, h, w = moments.shape
        x = moments[:, :4] + (0.5 * moments[:, 4:]).exp() * torch.randn(n, 4, h, w, generator=source)
        noise = torch.randn(x.shape, generator=source)
        # One step from each of n parts of the schedule, denser towards noise, where text decides the layout.
        u = (torch.arange(n) + torch.rand(n, generator=source)) / n
        t = (1000 * u.sqrt()).long().clamp(max=999)
        a, s = self.cumulative[t].sqrt().view(-1, 1, 1, 1), (1 - self.cumulative[t]).sqrt().view(-1, 1, 1, 1)
        return a * x + s * noise, t, a * noise - s * x, self.weights[t]


def train_unet(args):
    if (args.out / "unet.done").exists():
        return
    torch.manual_seed(args.seed + 1)
    listed = load_scenes(args.out)
    latents = torch.from_numpy(np.load(args.out / "latents.npy"))
    wanted = min(args.latents or args.pool, len(listed))
    if len(latents) != wanted:
        sys.exit(f"{args.out / 'latents.npy'} holds {len(latents)} pictures, not {wanted}: "
                 f"give --latents {len(latents)}, or delete it to encode again")
    vae = new_vae()
    vae.load_state_dict(torch.load(args.out / "vae_final.pt", weights_only=True))
    vae.register_to_config(scaling_factor=SCALING_FACTOR)
    vae.eval()
    tokenizer = load_tokenizer(args.model)
    unet, text_encoder = new_unet(), new_text_encoder()
    modules = torch.nn.ModuleDict(dict(unet=unet, text_encoder=text_encoder))
    reader = Reader()
    if args.start_from:
        load_folder(args.start_from, unet)
    torch.nn.ModuleDict(dict(text_encoder=text_encoder, reader=reader)).load_state_dict(
        torch.load(args.out / "text.pt", weights_only=True))
    trained = torch.nn.ModuleDict(dict(unet=unet, text_encoder=text_encoder, reader=reader))
    excluded = ("conv_out", "embedding", "time_emb_proj", "heads")
    optimizer = Muon(*split(trained.named_parameters(), excluded), lr=UNET_LR)
    average = Average(modules.parameters(), 0.999)
    progress = Progress(args.unet_steps, args.unet_minutes)
    checkpoint = args.out / "unet.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        trained.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.shadow = state["average"]
        progress = Progress(args.unet_steps, args.unet_minutes, state["step"], state["elapsed"])
        log(args.out, f"unet: resumed at step {progress.step}")
    elif args.start_from:
        log(args.out, f"unet: starts from the weights in {args.start_from}")
    log(args.out, f"unet: {sum(p.numel() for p in unet.parameters()) / 1e6:.2f} M parameters, "
                  f"text encoder {sum(p.numel() for p in text_encoder.parameters()) / 1e6:.2f} M")

    diffusion = Diffusion()
    saved = logged = sampled = time.monotonic()
    total = np.zeros(2)
    while progress.fraction < 1.0:
        rng = np.random.default_rng([args.seed, 2, progress.step])
        noise_source = torch.Generator().manual_seed(int(rng.integers(2 ** 62)))
        picks = rng.integers(len(latents), size=UNET_BATCH)
        some = [listed[i] for i in picks]
        texts, said = captions_of(some, rng)
        ids = tokens_of(tokenizer, texts)
        noisy, t, target, weight = diffusion(latents[picks].float(), noise_source)
        for group in optimizer.param_groups:
            group["lr"] = progress.lr(UNET_LR, UNET_LR_END, UNET_WARMUP)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            context = text_encoder(ids)[0]
            v = unet(noisy, t, context, return_dict=False)[0]
        error = (v.float() - target).square().mean((1, 2, 3))
        reading, right = reader.loss(context, ids, some, said)
        loss = (error * weight).mean()
        optimizer.zero_grad(set_to_none=True)
        (loss + READING * reading).backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        progress.tick()
        average.update(progress.step)
        total += np.array([loss.item(), right])
        now = time.monotonic()
        if progress.step % LOG_EVERY == 0:
            log(args.out, f"unet: step {progress.step} ({progress.fraction:.3f}) loss {total[0] / LOG_EVERY:.5f} "
                          f"read {total[1] / LOG_EVERY:.3f} {(now - logged) / LOG_EVERY:.3f} s/step")
            logged, total = now, np.zeros(2)
        done = progress.fraction >= 1.0
        if now - saved > CHECKPOINT_SECONDS or done or StopRequest.asked:
            saved = now
            save_atomically(dict(model=trained.state_dict(), optimizer=optimizer.state_dict(), average=average.shadow,
                                 step=progress.step, elapsed=progress.elapsed), checkpoint)
            with average:
                save_atomically(modules.state_dict(), args.out / "unet_ema.pt")
            if StopRequest.asked:
                sys.exit(f"stopped at step {progress.step}")
        if now - sampled > SAMPLE_SECONDS or done:
            with average, torch.no_grad():
                pictures = make_pipeline(vae, unet, text_encoder, tokenizer)(
                    list(SAMPLE_PROMPTS), num_inference_steps=20, guidance_scale=args.guidance, output_type="np",
                    generator=torch.Generator().manual_seed(0)).images
            from PIL import Image
            Image.fromarray(scenes.grid((pictures * 255).round().astype(np.uint8), 8)).save(
                args.out / f"sample_{progress.step:06d}.png")
            sampled = logged = time.monotonic()
    (args.out / "unet.done").write_text(f"{progress.step} steps\n")


# --------------------------------------------------------------------------
# The model folder
# --------------------------------------------------------------------------

def _write_config(folder, name, model):
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(model.to_json_string())
    config.pop("_name_or_path", None)
    (folder / name).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def export(args):
    """Write configurations, tokenizer and, once they are trained, the weights."""
    from diffusers import __version__ as diffusers_version
    from safetensors.torch import save_file
    if not (args.model / "tokenizer" / "vocab.json").exists():      # the weights belong to the one they learnt with
        vocabulary.write(args.model / "tokenizer")
    vae, unet, text_encoder = new_vae(), new_unet(), new_text_encoder()
    vae.register_to_config(scaling_factor=SCALING_FACTOR)
    _write_config(args.model / "vae", "config.json", vae)
    _write_config(args.model / "unet", "config.json", unet)
    text_encoder.config.architectures = ["CLIPTextModel"]
    _write_config(args.model / "text_encoder", "config.json", text_encoder.config)
    scheduler = json.loads(new_scheduler().to_json_string())
    (args.model / "scheduler").mkdir(exist_ok=True)
    (args.model / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler, indent=2, sort_keys=True) + "\n")
    index = dict(_class_name="StableDiffusionPipeline", _diffusers_version=diffusers_version,
                 feature_extractor=[None, None], requires_safety_checker=False, safety_checker=[None, None],
                 scheduler=["diffusers", "DPMSolverMultistepScheduler"],
                 text_encoder=["transformers", "CLIPTextModel"], tokenizer=["transformers", "CLIPTokenizer"],
                 unet=["diffusers", "UNet2DConditionModel"], vae=["diffusers", "AutoencoderKL"])
    (args.model / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    if not (args.out / "unet_ema.pt").exists():
        log(args.out, f"export: configurations only, to {args.model}")
        return
    vae.load_state_dict(torch.load(args.out / "vae_final.pt", weights_only=True))
    torch.nn.ModuleDict(dict(unet=unet, text_encoder=text_encoder)).load_state_dict(
        torch.load(args.out / "unet_ema.pt", weights_only=True))

    def save(module, path, prefix=""):
        tensors = {}
        for key, value in module.state_dict().items():
            if key.endswith("position_ids"):
                continue
            key = key if key.startswith(prefix) else prefix + key
            tensors[key] = value.detach().half().contiguous()
        save_file(tensors, path, metadata={"format": "pt"})
        return path.stat().st_size

    total = save(vae, args.model / "vae" / "diffusion_pytorch_model.safetensors")
    total += save(unet, args.model / "unet" / "diffusion_pytorch_model.safetensors")
    total += save(text_encoder, args.model / "text_encoder" / "model.safetensors", "text_model.")
    log(args.out, f"export: {total / 1e6:.1f} MB of weights to {args.model}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="run folder: data, checkpoints, log")
    parser.add_argument("--stage", default="all", choices=("all", "pool", "vae", "latents", "text", "unet", "export"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=int, default=POOL_SIZE, help="pictures to draw")
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="train in fp32 only")
    parser.add_argument("--vae-steps", type=int, default=13000)
    parser.add_argument("--vae-minutes", type=float, help="end the stage after this time instead")
    parser.add_argument("--latents", type=int, help="encode only so many pictures of the pool")
    parser.add_argument("--text-steps", type=int, default=300)
    parser.add_argument("--unet-steps", type=int, default=12000)
    parser.add_argument("--unet-minutes", type=float, help="end the stage after this time instead")
    parser.add_argument("--start-from", type=Path, metavar="FOLDER",
                        help="begin the unet stage with the UNet of this model folder")
    parser.add_argument("--guidance", type=float, default=4.0, help="guidance scale of the sample pictures")
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parent / "model",
                        help="model folder: tokenizer, and what export writes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    StopRequest.listen()
    stages = dict(pool=make_pool, vae=train_vae, latents=make_latents, text=train_text, unet=train_unet, export=export)
    for name, stage in stages.items():
        if args.stage in ("all", name):
            stage(args)


if __name__ == "__main__":
    main()
