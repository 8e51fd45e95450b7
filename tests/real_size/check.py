#!/usr/bin/env python3
"""Runs the architecture of Stable Diffusion 1.5 with random weights at 512x512; see README.md beside this file."""
import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import png_pixels, read_safetensors  # noqa: E402

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "bench" / "configs" / "sd15"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    easel, folder, options = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    pictures = []
    for layout in ("folder", "single-file"):
        model = folder / layout
        start = time.monotonic()
        if not model.exists():
            subprocess.run([easel, "make-random", CONFIG, model, "--dtype", "fp16",
                            *(["--single-file"] if layout == "single-file" else [])], check=True)
        print(f"{layout}: made in {time.monotonic() - start:.1f} s", flush=True)
        path = [model / "model.safetensors", "--tokenizer", model / "tokenizer"] if layout == "single-file" else [model]
        trace = folder / "trace.safetensors"
        report = json.loads(subprocess.run(
            [easel, "generate", "a red balloon", "--model", *path, "--steps", "3", "--sampler", "ddim", "--seed", "1",
             "--width", "512", "--height", "512", "--dtype", "fp32", "--trace", trace, "--json", "--out-dir",
             folder / "pictures", *options], check=True, stdout=subprocess.PIPE, text=True).stdout)
        for name, (_, values) in read_safetensors(trace).items():
            if not all(abs(v) < 1e30 for v in values):
                sys.exit(f"{layout}: {name} is not finite")
        seconds = report["seconds"]
        print(f"{layout}: load {seconds['load']:.2f} s, compile {seconds['compile']:.2f} s, steps "
              f"{', '.join(f'{s:.2f}' for s in seconds['steps'])} s, decode {sum(seconds['decode']):.2f} s, peak "
              f"{report['peak_memory_bytes'] / 1e9:.2f} GB, {report['threads']} threads, {report['device']}", flush=True)
        pictures.append(png_pixels(report["images"][0]["file"]))
    if pictures[0] != pictures[1]:
        sys.exit("the layouts give different pictures")
    print("every number is finite, and both layouts give the same picture")


if __name__ == "__main__":
    main()
