#!/usr/bin/env python3
"""Measures how well the demo model's pictures follow their prompts.

A small classifier learns to read the attributes of drawn scenes; then it reads
the pictures that the model made from new prompts, and every attribute that a
prompt mentions counts as right or wrong.  The prompts are about combinations of
land, time, object and colour that training never saw (scenes.is_held_out).

    python demo/evaluate.py prompts    --work runs/eval
    easel generate --model demo/model --prompt-file runs/eval/prompts.txt \\
                   --steps 20 --seed 1 --out-dir runs/eval/images
    python demo/evaluate.py classifier --work runs/eval
    python demo/evaluate.py score      --work runs/eval

Instead of easel, the reference implementation can draw the same pictures:

    python demo/evaluate.py generate   --work runs/eval --backend diffusers
"""

import argparse
import json
import multiprocessing
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import scenes

HERE = Path(__file__).resolve().parent
PROMPT_SEED = 20
DATA_SEED = 1000             # not a seed of the training pictures
TRAIN_PICTURES, TEST_PICTURES = 12000, 1000
CHUNK = 250
HELD_OUT_SHARE = 0.3         # the classifier must know every combination
EPOCHS, BATCH, LR = 6, 64, 2e-3
BAR_ALL, BAR_EACH = 0.85, 0.70

# The answers each attribute can have.
ANSWERS = {
    "land": scenes.LANDS, "time": scenes.TIMES, "object": scenes.OBJECTS,
    "color": ("",) + scenes.COLORS, "side": ("",) + scenes.SIDES,
    "sun": (False, True), "moon": (False, True), "stars": (False, True), "clouds": (False, True),
}


# ------------------------------------------------------------------ prompts

def make_prompts(count, seed):
    """`count` new prompts: text, the scene meant and the attributes mentioned."""
    rng = np.random.default_rng([seed, 3])
    listed = []
    for _ in range(count):
        scene = scenes.sample_scene(rng, held_out=True)
        text, said = scenes.caption(scene, rng, thorough=True)
        listed.append(dict(prompt=text, scene=asdict(scene), said=sorted(said)))
    return listed


def write_prompts(args):
    listed = make_prompts(args.count, args.prompt_seed)
    (args.work / "prompts.txt").write_text("".join(p["prompt"] + "\n" for p in listed))
    (args.work / "prompts.json").write_text(json.dumps(listed, indent=1) + "\n")
    print(f"{len(listed)} prompts in {args.work / 'prompts.txt'}")


# --------------------------------------------------------------- classifier

def _draw_chunk(job):
    seed, index, count = job
    rng = np.random.default_rng([seed, index])
    pictures, listed = [], []
    for _ in range(count):
        scene = scenes.sample_scene(rng, held_out=rng.random() < HELD_OUT_SHARE)
        pictures.append(scenes.draw(scene, rng))
        listed.append([ANSWERS[a].index(getattr(scene, a)) for a in ANSWERS])
    return np.stack(pictures), np.array(listed, np.int64)


def draw_data(args, count, seed):
    jobs = [(seed, i, CHUNK) for i in range(count // CHUNK)]
    with multiprocessing.Pool(args.threads) as workers:
        parts = workers.map(_draw_chunk, jobs)
    return np.concatenate([p for p, _ in parts]), np.concatenate([a for _, a in parts])


class Classifier(nn.Module):
    """Four strided convolutions, then one answer per attribute."""

    def __init__(self):
        super().__init__()
        widths = (3, 24, 48, 96, 128)
        self.stages = nn.Sequential(*[
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b), nn.SiLU())
            for a, b in zip(widths, widths[1:])])
        self.hidden = nn.Linear(128 * 16, 256)
        self.heads = nn.ModuleDict({a: nn.Linear(256, len(v)) for a, v in ANSWERS.items()})

    def forward(self, x):
        x = F.avg_pool2d(self.stages(x), 2).flatten(1)
        x = F.silu(self.hidden(F.dropout(x, 0.1, self.training)))
        return {a: head(x) for a, head in self.heads.items()}


def to_tensor(pictures):
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def roughen(x, rng):
    """Light noise, blur and tint, so that the classifier does not need pixel-perfect pictures."""
    if rng.random() < 0.5:
        small = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = torch.lerp(x, small, float(rng.uniform(0.3, 1.0)))
    tint = torch.from_numpy(rng.normal(0, 0.03, (len(x), 3, 1, 1)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 1, x.shape).astype(np.float32))
    return x + tint + noise * float(rng.uniform(0, 0.08))


@torch.no_grad()
def read(classifier, pictures):
    """The classifier's answers: (n, attributes) indices."""
    classifier.eval()
    parts = []
    for i in range(0, len(pictures), 100):
        answers = classifier(to_tensor(pictures[i:i + 100]))
        parts.append(torch.stack([answers[a].argmax(1) for a in ANSWERS], 1))
    return torch.cat(parts).numpy()


def accuracy(answers, truth):
    """Share of right answers per attribute, and of all of them."""
    right = answers == truth
    table = {a: float(right[:, i].mean()) for i, a in enumerate(ANSWERS)}
    table["all"] = float(right.mean())
    return table


def load_classifier(args):
    classifier = Classifier()
    classifier.load_state_dict(torch.load(args.work / "classifier.pt", weights_only=True))
    return classifier


def reconstruct(args, pictures):
    from diffusers import AutoencoderKL
    vae = AutoencoderKL.from_pretrained(str(args.model / "vae"), torch_dtype=torch.float32)
    parts = []
    with torch.no_grad():
        for i in range(0, len(pictures), 20):
            y = vae.decode(vae.encode(to_tensor(pictures[i:i + 20])).latent_dist.mode()).sample
            parts.append(((y.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def train_classifier(args):
    torch.manual_seed(args.seed)
    test, test_truth = draw_data(args, TEST_PICTURES, DATA_SEED + 1)
    if not (args.work / "classifier.pt").exists():
        train, truth = draw_data(args, TRAIN_PICTURES, DATA_SEED)
        truth = torch.from_numpy(truth)
        classifier = Classifier()
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=LR, weight_decay=0.01)
        steps = EPOCHS * (len(train) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
        rng = np.random.default_rng(args.seed)
        for epoch in range(EPOCHS):
            classifier.train()
            order, total = rng.permutation(len(train)), 0.0
            for i in range(0, len(train) // BATCH * BATCH, BATCH):
                picks = order[i:i + BATCH]
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    answers = classifier(roughen(to_tensor(train[picks]), rng))
                loss = sum(F.cross_entropy(answers[a].float(), truth[picks, k]) for k, a in enumerate(ANSWERS))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
            print(f"epoch {epoch + 1}: loss {total / (len(train) // BATCH):.3f} "
                  f"test {accuracy(read(classifier, test), test_truth)['all']:.4f}", flush=True)
        torch.save(classifier.state_dict(), args.work / "classifier.pt")
    classifier = load_classifier(args)
    report = dict(drawn=accuracy(read(classifier, test), test_truth))
    if (args.model / "vae" / "diffusion_pytorch_model.safetensors").exists():
        report["reconstructed"] = accuracy(read(classifier, reconstruct(args, test)), test_truth)
    (args.work / "classifier.json").write_text(json.dumps(report, indent=1) + "\n")
    for name, table in report.items():
        print(name, " ".join(f"{a} {v:.3f}" for a, v in table.items()))


# ---------------------------------------------------------------- pictures

def generate(args):
    """Draw the prompts' pictures with diffusers, named as easel names them."""
    from diffusers import StableDiffusionPipeline
    listed = json.loads((args.work / "prompts.json").read_text())
    images = args.images or args.work / "images"
    images.mkdir(parents=True, exist_ok=True)
    pipeline = StableDiffusionPipeline.from_pretrained(str(args.model), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    started = time.time()
    for i in range(0, len(listed), 16):
        batch = [p["prompt"] for p in listed[i:i + 16]]
        made = pipeline(batch, num_inference_steps=args.steps, guidance_scale=args.guidance, output_type="np",
                        generator=[torch.Generator().manual_seed(args.seed + i + k) for k in range(len(batch))]).images
        for k, picture in enumerate((made * 255).round().astype(np.uint8)):
            Image.fromarray(picture).save(images / f"img_{i + k:03d}_steps{args.steps}.png")
    print(f"{len(listed)} pictures in {time.time() - started:.0f} s")


def score(args):
    listed = json.loads((args.work / "prompts.json").read_text())
    images = args.images or args.work / "images"
    files = sorted(images.glob("img_*.png"))
    if len(files) != len(listed):
        sys.exit(f"{images} has {len(files)} pictures for {len(listed)} prompts")
    pictures = np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])
    if pictures.shape[1] != scenes.SIZE:
        sys.exit(f"pictures are {pictures.shape[1]} pixels high, not {scenes.SIZE}")
    answers = read(load_classifier(args), pictures)
    ceiling = json.loads((args.work / "classifier.json").read_text())
    names = list(ANSWERS)
    right, count = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for row, p in zip(answers, listed):
        for a in p["said"]:
            count[a] += 1
            good = ANSWERS[a][row[names.index(a)]] == p["scene"][a]
            right[a] += good
            if args.wrong and not good:
                print(f"{a}: {ANSWERS[a][row[names.index(a)]]} for: {p['prompt']}")
    lines = ["| attribute | asked for | right | drawn scenes | VAE reconstructions |", "|---|---:|---:|---:|---:|"]

    def percent(value):
        return f"{100 * value:.1f} %"
    for a in names + ["all"]:
        r, n = (sum(right.values()), sum(count.values())) if a == "all" else (right[a], count[a])
        others = [percent(ceiling[k][a]) if k in ceiling else "" for k in ("drawn", "reconstructed")]
        lines.append(f"| {a} | {n} | {percent(r / max(1, n))} | {others[0]} | {others[1]} |")
    table = "\n".join(lines) + "\n"
    (args.work / "table.md").write_text(table)
    print(table)
    total = sum(right.values()) / sum(count.values())
    worst = min(right[a] / count[a] for a in names if count[a])
    passed = total >= BAR_ALL and worst >= BAR_EACH
    print(f"all {total:.3f} (bar {BAR_ALL}), worst attribute {worst:.3f} (bar {BAR_EACH}): {'pass' if passed else 'FAIL'}")
    if args.grid:
        sheet = Image.fromarray(scenes.grid(pictures[:16], 4))
        sheet.save(args.grid, optimize=True)
        for p in listed[:16]:
            print("-", p["prompt"])
    return 0 if passed else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prompts", "classifier", "generate", "score"))
    parser.add_argument("--work", type=Path, required=True, help="folder for prompts, classifier, pictures, table")
    parser.add_argument("--model", type=Path, default=HERE / "model")
    parser.add_argument("--images", type=Path, help="folder of pictures in prompt order (default: WORK/images)")
    parser.add_argument("--count", type=int, default=256, help="prompts: how many")
    parser.add_argument("--prompt-seed", type=int, default=PROMPT_SEED)
    parser.add_argument("--backend", default="diffusers", choices=("diffusers",), help="generate: what draws")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grid", type=Path, help="score: also write the first 16 pictures as one")
    parser.add_argument("--wrong", action="store_true", help="score: list what was wrong")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    return dict(prompts=write_prompts, classifier=train_classifier, generate=generate, score=score)[args.what](args)


if __name__ == "__main__":
    sys.exit(main())
