"""Compares easel with other engines on one machine, in one run: same weights, same latents.

    easel make-random bench/configs/sd15 /tmp/sd15            # full-size SD1.5, seeded random weights
    python3 bench/peers/bench.py --model /tmp/sd15 --easel build/easel --rounds 3 --json peers.json

Needs torch and diffusers (and openvino for those rows; rows whose library is missing are
left out and named). Every measurement is a process of its own; rounds are interleaved
(engine 1, 2, 3, 1, 2, 3 …), so that a slow minute of the machine hits all of them; the
best of all rounds counts. Absolute figures move from machine to machine: read the ratios.

Measured: seconds of one UNet step with guidance (batch 2), of one VAE decode, and the peak
memory (maximum resident set) of the whole process from load to picture. Results must
agree: relative L2 of the last latents and of the decoded picture against diffusers fp32;
fp32 engines beyond 1e-4 / 2e-4 make the exit status 1.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

from engines import ENGINES, add_arguments

BOUNDS = {"latents": 1e-4, "decoded": 2e-4}
EASEL = ("easel-fp32", "easel-bf16")
LIBRARIES = {"diffusers": ("torch", "diffusers", "transformers"), "openvino": ("openvino",)}


def run_process(command):
    """Runs a command. Returns (stdout, peak memory in bytes); stops the benchmark if it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            sys.exit(f"failed with {process.returncode}: {' '.join(map(str, command))}\n{err.read()[-2000:]}")
        return out.read(), usage.ru_maxrss * 1024


def picture_arguments(args):
    """The options of engines.add_arguments, as given."""
    return ["--model", args.model, "--prompt", args.prompt, "--negative-prompt", args.negative_prompt,
            "--steps", str(args.steps), "--guidance-scale", str(args.guidance_scale), "--width", str(args.width),
            "--height", str(args.height), "--seed", str(args.seed), "--threads", str(args.threads)]


def run_helper(what, args, work):
    """Runs engines.py in its own process. Returns (its JSON, peak memory)."""
    out, peak = run_process([sys.executable, Path(__file__).with_name("engines.py"), what, "--work", work,
                             *picture_arguments(args)])
    return json.loads(out.splitlines()[-1]), peak


def run_easel(engine, args, work, verify):
    """Runs `easel generate`; with `verify` also writes its trace. Returns (seconds, peak memory)."""
    command = [args.easel, "generate", *picture_arguments(args), "--sampler", "ddim", "--dtype",
               engine.removeprefix("easel-"), "--initial-latents", work / "latents.safetensors",
               "--out-dir", work / "pictures", "--json"]
    trace = work / f"{engine}.safetensors"
    if verify:
        command += ["--trace", trace]
    out, peak = run_process(command)
    report = json.loads(out)
    if verify:
        from safetensors.numpy import load_file

        tensors = load_file(str(trace))
        np.savez(work / f"{engine}.npz", latents=tensors[f"latents.{args.steps - 1}"], decoded=tensors["decoded"])
    return report["seconds"], max(peak, report.get("peak_memory_bytes") or 0)


def choose_engines(args):
    """Returns (engines to run, reasons for those left out)."""
    chosen, left_out = [], []
    for engine in args.engines.split(","):
        if engine in EASEL:
            reason = None if args.easel else "no --easel"
        elif engine in ENGINES:
            missing = [m for m in LIBRARIES[engine.split("-")[0]] if not importlib.util.find_spec(m)]
            reason = f"not installed: {', '.join(missing)}" if missing else None
        else:
            sys.exit(f"unknown engine {engine}; known: {', '.join([*ENGINES, *EASEL])}")
        left_out.append(f"{engine} ({reason})") if reason else chosen.append(engine)
    return chosen, left_out


def measure(args, engines, work):
    """Runs all rounds. Returns {engine: {"steps": […], "decode": […], "load": […], "peak": […]}}."""
    results = {e: {"load": [], "text_encode": [], "steps": [], "decode": [], "peak_memory_bytes": []} for e in engines}
    for round_ in range(args.rounds):
        for engine in engines:
            if engine in EASEL:
                seconds, peak = run_easel(engine, args, work, verify=round_ == 0)
            else:
                seconds, peak = run_helper(engine, args, work)
            print(f"round {round_ + 1} {engine:18} step {min(seconds['steps']):8.3f} s  decode "
                  f"{min(seconds['decode']):8.3f} s  peak {peak / 1e9:.2f} GB", file=sys.stderr, flush=True)
            for key in ("load", "text_encode"):
                if seconds.get(key) is not None:
                    results[engine][key].append(seconds[key])
            for key in ("steps", "decode"):
                results[engine][key] += seconds[key]
            results[engine]["peak_memory_bytes"].append(peak)
    return results


def relative_l2(got, want):
    """||got - want|| / ||want|| in double."""
    return float(np.linalg.norm(got.astype(np.float64) - want) / np.linalg.norm(want.astype(np.float64)))


def compare_outputs(engines, reference, work):
    """Relative L2 of latents and decoded picture against the reference engine."""
    want = np.load(work / f"{reference}.npz")
    found = {}
    for engine in engines:
        got = np.load(work / f"{engine}.npz")
        found[engine] = {key: relative_l2(got[key], want[key]) for key in BOUNDS}
        if not all(np.isfinite(got[key]).all() for key in BOUNDS):
            found[engine] = {key: float("inf") for key in BOUNDS}
    return found


def table(engines, results, differences, baseline):
    """A markdown table: best times, ratios to the baseline (above 1 = slower), memory, agreement."""
    head = ["engine", "UNet step s", f"× {baseline}", "VAE decode s", f"× {baseline}", "text s", "load s", "peak GB",
            "rel. L2 latents", "decoded"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    base = results[baseline]
    for engine in engines:
        r, d = results[engine], differences[engine]
        step, decode = min(r["steps"]), min(r["decode"])
        text = f"{min(r['text_encode']):.3f}" if r["text_encode"] else "–"
        rows.append([engine, f"{step:.3f}", f"{step / min(base['steps']):.2f}", f"{decode:.3f}",
                     f"{decode / min(base['decode']):.2f}", text, f"{min(r['load']):.2f}",
                     f"{max(r['peak_memory_bytes']) / 1e9:.2f}", f"{d['latents']:.1e}", f"{d['decoded']:.1e}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def ratios(engines, results):
    """easel's time over each peer's of the same dtype (below 1 = easel is faster)."""
    lines = []
    for easel in (e for e in EASEL if e in engines):
        dtype = easel.removeprefix("easel-")
        for peer in (e for e in engines if e not in EASEL and dtype in e):
            step = min(results[easel]["steps"]) / min(results[peer]["steps"])
            decode = min(results[easel]["decode"]) / min(results[peer]["decode"])
            memory = max(results[easel]["peak_memory_bytes"]) / max(results[peer]["peak_memory_bytes"])
            lines.append(f"| {easel} / {peer} | {step:.2f} | {decode:.2f} | {memory:.2f} |")
    return "\n".join(["| time or memory of / of | UNet step | VAE decode | peak memory |", "|---|---:|---:|---:|", *lines]) \
        if lines else ""


def machine(threads):
    """CPU, threads, and library versions: what a reader needs beside the figures."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    versions = {}
    for library in ("torch", "diffusers", "openvino"):
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            pass
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": threads, "versions": versions}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--easel", help="path of the easel command")
    parser.add_argument("--engines", default="diffusers-fp32,openvino-fp32,easel-fp32,diffusers-bf16,openvino-bf16,"
                        "easel-bf16", help="comma-separated, in this order; also: diffusers-fp32-cl (channels last)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; the best counts (default %(default)s)")
    parser.add_argument("--json", help="write everything measured to this file")
    parser.add_argument("--work", help="folder to keep latents and OpenVINO models in (4 GB at full size); "
                        "default: temporary")
    args = parser.parse_args()
    if args.rounds < 1 or args.steps < 1 or args.width % 8 or args.height % 8:
        parser.error("rounds and steps must be positive, width and height multiples of 8")
    engines, left_out = choose_engines(args)
    if not engines:
        sys.exit("nothing to run: " + ", ".join(left_out))
    temporary = None if args.work else tempfile.TemporaryDirectory()
    work = Path(args.work or temporary.name)
    work.mkdir(parents=True, exist_ok=True)
    # Before measuring: shared inputs, and the IR of OpenVINO.
    run_helper("prepare", args, work)
    if any(e.startswith("openvino") for e in engines):
        run_helper("convert", args, work)
    results = measure(args, engines, work)
    reference = "diffusers-fp32"
    if reference not in engines:  # the yardstick of agreement is always needed
        run_helper(reference, args, work)
    differences = compare_outputs(engines, reference, work)
    baseline = reference if reference in engines else engines[0]
    about = machine(args.threads)
    print(f"SD1.5-shaped {args.model}, {args.width}×{args.height}, guidance batch 2, {args.steps} steps, best of "
          f"{args.rounds} rounds, {args.threads} threads, {about['cpu']}, "
          + ", ".join(f"{k} {v}" for k, v in about["versions"].items()) + "\n")
    print(table(engines, results, differences, baseline) + "\n")
    print(ratios(engines, results))
    if left_out:
        print("\nleft out: " + ", ".join(left_out))
    if args.json:
        options = {k: v for k, v in vars(args).items() if k not in ("easel", "work", "json")}
        Path(args.json).write_text(json.dumps(
            {"machine": about, "options": options, "results": results, "differences": differences}, indent=2) + "\n")
    wrong = [e for e in engines if "fp32" in e and any(differences[e][k] > BOUNDS[k] for k in BOUNDS)]
    if wrong:
        sys.exit("outputs differ from diffusers fp32: " + ", ".join(wrong))


if __name__ == "__main__":
    main()
