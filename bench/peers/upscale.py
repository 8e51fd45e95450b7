"""Upscaling by easel and by torch, in one run on one machine: the same weights, the same picture.

    python3 bench/peers/upscale.py --easel build/bin/easel --rounds 3

makes the network with seeded random weights (`easel make-random --upscaler`), a smooth random picture, and upscales it
with torch (eager; bf16 channels last, and fp32) and easel, each in a process of its own, interleaved. Seconds are those
of the pass alone, weights packed and everything warmed up by a pass before it (torch fp32: one pass in the first round,
nothing warm, for it takes minutes and is there for its result). Memory is the highest resident set of easel's process
less its weights; for torch, what the pass adds to the resident set before it, so without weights and libraries. The
best of all rounds counts. Results must agree with torch fp32's, or with torch bf16's where `--engines` leaves that out:
on average within 3 levels in bf16, 0.1 in fp32. Needs torch, safetensors and Pillow.

    python3 bench/peers/upscale.py --size 48 --rounds 1 --network x4plus-anime-6b       # tries itself, in seconds
    python3 bench/peers/upscale.py --rounds 2 --engines torch-bf16,easel-bf16           # 512² to 2048², without fp32
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = {"x4plus": ("RRDBNet", {}), "x2plus": ("RRDBNet", {"unshuffle": 2}),
            "x4plus-anime-6b": ("RRDBNet", {"nb": 6}), "general-x4v3": ("SRVGG", {"convs": 32}),
            "animevideo": ("SRVGG", {})}
ENGINES = ("torch-bf16", "easel-bf16", "torch-fp32", "easel-fp32")


def resident(field):
    """VmRSS (now) or VmHWM (highest) of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def run(command):
    """What a process prints; where it fails, its own words and nothing else."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nfailed with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout


def torch_worker(args):
    """One process: a pass to warm up, then the timed one. Prints JSON; saves the samples."""
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import load_file

    sys.path.insert(0, str(ROOT / "tests" / "goldens"))
    import make_upscalers

    torch.set_num_threads(args.threads)
    kind, config = NETWORKS[args.network]
    network = getattr(make_upscalers, kind)(**config)
    network.load_state_dict(load_file(args.model))
    dtype = torch.bfloat16 if args.worker == "torch-bf16" else torch.float32
    network = network.eval().to(dtype=dtype, memory_format=torch.channels_last)
    picture = torch.from_numpy(np.asarray(Image.open(args.picture).convert("RGB")).astype(np.float32) / 255)
    x = picture.permute(2, 0, 1)[None].to(dtype=dtype, memory_format=torch.channels_last)
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident set counts from here
    before = resident("VmRSS")
    with torch.inference_mode():
        for _ in range(1 if args.once else 2):
            start = time.perf_counter()
            y = network(x)
            seconds = time.perf_counter() - start
    peak = resident("VmHWM")
    samples = (y.float().clamp(0, 1) * 255).round().byte()[0].permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(samples).save(args.result)
    print(json.dumps({"seconds": seconds, "bytes": peak - before}))


def run_torch(args, engine, result):
    command = [sys.executable, __file__, "--worker", engine, "--network", args.network, "--model", args.model,
               "--picture", args.picture, "--result", result, "--threads", args.threads]
    if engine == "torch-fp32":
        command.append("--once")  # the reference; its time is for the record
    return json.loads(run(command).splitlines()[-1])


def run_easel(args, engine, result):
    with tempfile.TemporaryDirectory() as folder:
        # The same picture twice: the second pass finds everything packed and compiled.
        out = json.loads(run([args.easel, "upscale", args.picture, args.picture, "--model", args.model, "--dtype",
                              engine.removeprefix("easel-"), "--threads", args.threads, "--out-dir", folder,
                              "--json", "--quiet"]))
        Path(result).write_bytes(Path(out["images"][-1]["file"]).read_bytes())
    weights = out["model"]["parameters"] * (2 if engine == "easel-bf16" else 4)
    return {"seconds": out["seconds"]["upscale"][-1], "bytes": out["peak_memory_bytes"] - weights}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--easel", default="build/bin/easel")
    parser.add_argument("--network", choices=NETWORKS, default="x4plus")
    parser.add_argument("--size", type=int, default=512, help="side of the picture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--engines", default=",".join(ENGINES), help="which of %(default)s")
    for hidden in ("worker", "model", "picture", "result"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return torch_worker(args)

    engines = args.engines.split(",")
    for engine in engines:
        if engine not in ENGINES:
            parser.error(f"--engines: expected some of {', '.join(ENGINES)}, found {engine}")
    reference = next((engine for engine in ("torch-fp32", "torch-bf16") if engine in engines), None)

    import numpy as np
    from PIL import Image

    with tempfile.TemporaryDirectory(prefix="easel-upscale-") as folder:
        args.model, args.picture = f"{folder}/network.safetensors", f"{folder}/picture.png"
        run([args.easel, "make-random", "--upscaler", args.network, args.model])
        coarse = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((args.size, args.size), Image.BICUBIC).save(args.picture)
        best, samples = {}, {}
        for round_number in range(args.rounds):
            for engine in engines:
                if engine == "torch-fp32" and round_number > 0:
                    continue
                result = f"{folder}/{engine}.png"
                found = (run_torch if engine.startswith("torch") else run_easel)(args, engine, result)
                samples[engine] = np.asarray(Image.open(result).convert("RGB")).astype(int)
                known = best.setdefault(engine, found)
                best[engine] = {key: min(known[key], found[key]) for key in found}
                print(f"round {round_number + 1} {engine}: {found['seconds']:.3f} s", file=sys.stderr, flush=True)
    print(f"{args.network}, {args.size}² pixels, {args.threads} threads, best of {args.rounds}\n")
    print(f"| engine | seconds | memory above the weights | mean difference to {reference}, levels |\n|---|---|---|---|")
    failed = False
    if reference and samples[reference].std() < 4:
        print(f"{reference}'s result is flat: comparing it tells nothing", file=sys.stderr)
        failed = True
    for engine, found in best.items():
        away = abs(samples[engine] - samples[reference]).mean() if reference else float("nan")
        exact = engine == "easel-fp32" and reference == "torch-fp32"
        failed |= engine.startswith("easel") and away > (0.1 if exact else 3)
        print(f"| {engine} | {found['seconds']:.3f} | {found['bytes'] / 1e9:.2f} GB | {away:.3f} |")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
