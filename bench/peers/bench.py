"""Compares easel with other engines on one machine, in one run: same weights, same latents.

    python3 bench/peers/bench.py --easel build/bin/easel --rounds 3 --out peers

makes the full-size SD1.5 with seeded random weights where --model is not given, and writes
peers.md (the tables), peers.json (everything measured) and peers.svg (a bar chart).
Needs torch and diffusers, and openvino or stable-diffusion-cpp-python for their rows; what is
missing or fails is named in the table, and the rest goes on. Every measurement is a process of
its own; rounds are interleaved (engine 1, 2, 3, 1, 2, 3 …), so that a slow minute of the machine
hits all of them; the best of all rounds counts. Absolute figures move from machine to machine:
read the ratios.

Measured: seconds of one UNet step with guidance, of one VAE decode, of encoding both prompts, of
20 steps end to end (added up, unless --steps is 20 or more), from the start of the process to the
first step, and the peak memory (maximum resident set) of the whole process. Results must agree
with diffusers fp32: relative L2 of the first UNet output at most 1e-4 in fp32 and 2.5e-2 in bf16,
in fp32 also of the last latents (1e-4) and of the decoded picture (2e-4). The exit status is 1
where easel's do not, or where an engine failed; a peer that is beyond a bound is named.
"""

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from chart import bar_chart
from engines import ENGINES, add_arguments

BOUNDS = {"fp32": {"unet": 1e-4, "latents": 1e-4, "decoded": 2e-4}, "bf16": {"unet": 2.5e-2}}
OUTPUTS = ("unet", "latents", "decoded")
EASEL = ("easel-fp32", "easel-bf16")
LIBRARIES = {"diffusers": ("torch", "diffusers", "transformers"), "openvino": ("openvino",),
             "sdcpp": ("stable_diffusion_cpp",)}
DEFAULT_ENGINES = "diffusers-fp32,openvino-fp32,easel-fp32,diffusers-bf16,openvino-bf16,easel-bf16,sdcpp-fp16"
REFERENCE = "diffusers-fp32"
CONFIG = Path(__file__).resolve().parents[1] / "configs" / "sd15"
# Further settings of --also; OpenVINO's models have static shapes and are converted for each.
VARIANTS = {"256": {"width": 256, "height": 256}, "768": {"width": 768, "height": 768}, "batch4": {"batch_size": 4},
            "threads1": {"threads": 1}, "steps20": {"steps": 20}}


class Failure(Exception):
    """A process of an engine that ended badly; the message is for the table and the log."""


def run_process(command, timeout):
    """Runs a command. Returns (stdout, peak memory in bytes, time at which it was started); raises Failure."""
    shown = " ".join(map(str, command))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        started = time.time()
        try:
            process = subprocess.Popen(command, stdout=out, stderr=err)
        except OSError as error:
            raise Failure(f"cannot be started: {error}") from error
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.time() - started > timeout:
                process.kill()
                os.wait4(process.pid, 0)
                process.returncode = -9
                raise Failure(f"took more than {timeout} s: {shown}")
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            text = err.read()[-2000:]
            last = (text.strip().splitlines() or ["no message"])[-1]
            raise Failure(f"{last} (status {process.returncode})\n{shown}\n{text}")
        return out.read(), usage.ru_maxrss * 1024, started


def picture_arguments(args):
    """The options of engines.add_arguments that easel knows, too, but for --model and --batch-size."""
    return ["--prompt", args.prompt, "--negative-prompt", args.negative_prompt,
            "--steps", str(args.steps), "--guidance-scale", str(args.guidance_scale), "--width", str(args.width),
            "--height", str(args.height), "--seed", str(args.seed), "--threads", str(args.threads)]


def run_helper(what, args, work):
    """Runs engines.py in its own process. Returns (its JSON, peak memory)."""
    command = [sys.executable, Path(__file__).with_name("engines.py"), what, "--work", work,
               "--batch-size", str(args.batch_size), "--model", args.model, *picture_arguments(args)]
    if args.single_file:
        command += ["--single-file", args.single_file]
    if args.compress_to_fp16:
        command.append("--compress-to-fp16")
    out, peak, started = run_process(command, args.timeout)
    result = json.loads(out.splitlines()[-1])
    if "first_step_at" in result:
        result["start_to_first_step"] = result.pop("first_step_at") - started
    return result, peak


def easel_model(args):
    tokenizer = ["--tokenizer", args.easel_tokenizer] if args.easel_tokenizer else []
    return ["--model", args.easel_model or args.model, *tokenizer]


def run_easel(engine, args, work):
    """Runs `easel bench` for one round. Returns (seconds, peak memory)."""
    out, peak, _ = run_process(
        [args.easel, "bench", *easel_model(args), "--steps", str(args.steps), "--rounds", "1",
         "--width", str(args.width), "--height", str(args.height), "--batch-size", str(args.batch_size), "--guidance-scale",
         str(args.guidance_scale), "--threads", str(args.threads), "--dtype", engine.removeprefix("easel-"), "--json"],
        args.timeout)
    report = json.loads(out)
    measured = report["seconds"]
    seconds = {"load": measured["load"] + measured["compile"], "text_encode": measured["text_encode"]["best"],
               "steps": measured["step"]["runs"], "decode": measured["decode"]["runs"],
               "start_to_first_step": measured["start_to_first_step"]}
    return seconds, max(peak, report["peak_memory_bytes"])


def easel_outputs(engine, args, work):
    """Writes what engines.py writes for the others, from two runs of `easel generate` with a trace."""
    from safetensors.numpy import load_file

    def trace(guidance_scale):
        path = work / f"{engine}.safetensors"
        options = argparse.Namespace(**{**vars(args), "guidance_scale": guidance_scale})
        run_process([args.easel, "generate", *easel_model(args), *picture_arguments(options),
                     "--num-images-per-prompt", str(args.batch_size), "--sampler", "ddim", "--dtype",
                     engine.removeprefix("easel-"), "--initial-latents", work / "latents.safetensors", "--out-dir",
                     work / "pictures", "--trace", path, "--quiet"], args.timeout)
        return load_file(str(path))

    # At a scale of 1 the prediction is the conditional one; a little above, both branches still run in one batch.
    # The first step is x ← c_x·x + c_e·eps, so eps follows from the latents after it.
    shared = np.load(work / "shared.npz")
    after = trace(1.0000002)["latents.0"].astype(np.float64)
    unet = (after - shared["c_x"][0] * shared["latents"]) / shared["c_e"][0]
    tensors = trace(args.guidance_scale)
    np.savez(work / f"{engine}.npz", unet=unet, latents=tensors[f"latents.{args.steps - 1}"], decoded=tensors["decoded"])


def choose_engines(args):
    """Returns (engines to run, {engine: reason} for those left out)."""
    chosen, left_out = [], {}
    for engine in args.engines.split(","):
        if engine in EASEL:
            reason = None if args.easel else "no --easel"
        elif engine in ENGINES:
            missing = [m for m in LIBRARIES[engine.split("-")[0]] if not importlib.util.find_spec(m)]
            reason = f"not installed: {', '.join(missing)}" if missing else None
            if not reason and engine.startswith("sdcpp") and not args.single_file:
                reason = "no --single-file"
        else:
            sys.exit(f"unknown engine {engine}; known: {', '.join([*ENGINES, *EASEL])}")
        if reason:
            left_out[engine] = reason
        else:
            chosen.append(engine)
    return chosen, left_out


def measure(args, engines, work):
    """Runs all rounds. Returns {engine: {"load": […], …, "steps": […], "peak_memory_bytes": […]} or {"error": …}}."""
    results = {e: {"load": [], "text_encode": [], "steps": [], "decode": [], "start_to_first_step": [],
                   "peak_memory_bytes": []} for e in engines}

    def guarded(engine, work_of):
        if "error" in results[engine]:
            return None
        try:
            return work_of()
        except (Failure, KeyError, ValueError, OSError) as error:  # also a report that is not what it should be
            results[engine] = {"error": str(error) or type(error).__name__}
            print(f"{engine} FAILED: {results[engine]['error']}", file=sys.stderr, flush=True)
            return None

    if any(e.startswith("openvino") for e in engines):
        try:
            run_helper("convert", args, work)
        except Failure as error:
            for engine in engines:
                if engine.startswith("openvino"):
                    results[engine] = {"error": f"conversion {error}"}
            print(f"conversion FAILED: {error}", file=sys.stderr, flush=True)
    for round_ in range(args.rounds):
        for engine in engines:
            done = guarded(engine, lambda: (run_easel if engine in EASEL else run_helper)(engine, args, work))
            if done is None:
                continue
            seconds, peak = done
            print(f"round {round_ + 1} {engine:18} step {min(seconds['steps']):8.3f} s  decode "
                  f"{min(seconds['decode']):8.3f} s  peak {peak / 1e9:.2f} GB", file=sys.stderr, flush=True)
            for key in ("load", "text_encode", "start_to_first_step"):
                results[engine][key].append(seconds[key])
            for key in ("steps", "decode"):
                results[engine][key] += seconds[key]
            results[engine]["peak_memory_bytes"].append(peak)
    for engine in engines:  # after all measuring
        if engine in EASEL:
            guarded(engine, lambda: easel_outputs(engine, args, work))
    return results


def relative_l2(got, want):
    """||got - want|| / ||want|| in double; infinite for other shapes and for numbers that are not finite."""
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.linalg.norm(got.astype(np.float64) - want) / np.linalg.norm(want.astype(np.float64)))


def compare_outputs(engines, work):
    """{engine: {output: relative L2 against the reference}}; empty where there is nothing to compare."""
    reference = work / f"{REFERENCE}.npz"
    if not reference.exists():
        return {}
    want = np.load(reference)
    found = {}
    for engine in engines:
        path = work / f"{engine}.npz"
        if path.exists():
            got = np.load(path)
            found[engine] = {key: relative_l2(got[key], want[key]) for key in OUTPUTS}
    return found


def disagreements(differences, engines):
    """Lines for every output of `engines` beyond its bound."""
    return [f"{engine}: {key} differs from {REFERENCE} by {value:.2e}, allowed {bounds[key]:.1e}"
            for engine, values in differences.items() if engine in engines
            for dtype, bounds in BOUNDS.items() if dtype in engine
            for key, value in values.items() if key in bounds and not value <= bounds[key]]


def summary(result):
    """The figures of the table from all rounds of one engine: best times, largest memory."""
    out = {"step": min(result["steps"]), "decode": min(result["decode"]), "text_encode": min(result["text_encode"]),
           "load": min(result["load"]), "start_to_first_step": min(result["start_to_first_step"]),
           "peak_memory_bytes": max(result["peak_memory_bytes"])}
    out["twenty_steps"] = out["text_encode"] + 20 * out["step"] + out["decode"]
    return out


def markdown(rows):
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def table(engines, results, differences, left_out, baseline):
    """Best times, ratios to the baseline (above 1 = slower), memory, agreement."""
    rows = [["engine", "UNet step s", f"× {baseline}", "VAE decode s", f"× {baseline}", "text s", "20 steps s",
             "start to first step s", "peak GB", "rel. L2 UNet", "latents", "decoded"]]
    base = summary(results[baseline])
    for engine in engines:
        if "error" in results[engine]:
            rows.append([engine, "failed: " + results[engine]["error"].split(chr(10))[0][:80], *["–"] * 10])
            continue
        r, d = summary(results[engine]), differences.get(engine)
        rows.append([engine, f"{r['step']:.3f}", f"{r['step'] / base['step']:.2f}", f"{r['decode']:.3f}",
                     f"{r['decode'] / base['decode']:.2f}", f"{r['text_encode']:.3f}", f"{r['twenty_steps']:.1f}",
                     f"{r['start_to_first_step']:.2f}", f"{r['peak_memory_bytes'] / 1e9:.2f}",
                     *([f"{d[key]:.1e}" for key in OUTPUTS] if d else ["–"] * 3)])
    rows += [[engine, f"left out: {reason}", *["–"] * 10] for engine, reason in left_out.items()]
    return markdown(rows)


def speedups(engines, results):
    """How many times faster than each peer easel is (above 1 = easel is faster); memory as a part of the peer's."""
    good = [e for e in engines if "error" not in results[e]]
    rows = [["easel against", "UNet step", "VAE decode", "text", "20 steps", "memory of / of"]]
    for easel in (e for e in EASEL if e in good):
        dtype = easel.removeprefix("easel-")
        for peer in good:
            if peer in EASEL or not (dtype in peer or peer.startswith("sdcpp")):
                continue
            own, other = summary(results[easel]), summary(results[peer])
            rows.append([f"{easel} : {peer}", *(f"{other[key] / own[key]:.2f} ×" for key in
                                                ("step", "decode", "text_encode", "twenty_steps")),
                         f"{own['peak_memory_bytes'] / other['peak_memory_bytes']:.2f}"])
    return markdown(rows) if len(rows) > 1 else ""


def machine(threads):
    """CPU, threads, and library versions: what a reader needs beside the figures."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    versions = {}
    for library in ("torch", "diffusers", "openvino", "stable-diffusion-cpp-python"):
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            pass
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": threads, "versions": versions}


def make_model(args, work):
    """Full-size SD1.5 with random weights, as a folder in fp32 and, where sd.cpp is asked for, one file in fp16."""
    if not args.easel:
        sys.exit("without --model, --easel is needed to make one with random weights")
    args.model = work / "sd15-random"
    if not (args.model / "model_index.json").exists():
        print("making a model with random weights", file=sys.stderr, flush=True)
        run_process([args.easel, "make-random", CONFIG, args.model], args.timeout)
    if "sdcpp" in args.engines and importlib.util.find_spec("stable_diffusion_cpp") and not args.single_file:
        folder = work / "sd15-random-file"
        args.single_file = folder / "model.safetensors"
        if not args.single_file.exists():
            run_process([args.easel, "make-random", CONFIG, folder, "--single-file", "--dtype", "fp16"], args.timeout)


def benchmark(label, args, engines, left_out, work):
    """One setting: prepares, measures, compares. Returns (report for JSON, markdown, complaints)."""
    work.mkdir(parents=True, exist_ok=True)
    for old in work.glob("*.npz"):
        old.unlink()
    run_helper("prepare", args, work)
    results = measure(args, engines, work)
    complaints = [f"{engine} failed: {result['error'].splitlines()[0]}" for engine, result in results.items()
                  if "error" in result]
    if not (work / f"{REFERENCE}.npz").exists():  # the yardstick of agreement is always needed
        try:
            run_helper(REFERENCE, args, work)
        except Failure as error:
            complaints.append(f"nothing was compared: {REFERENCE} {error}")
    differences = compare_outputs(engines, work)
    complaints += disagreements(differences, EASEL)
    notes = disagreements(differences, [e for e in engines if e not in EASEL])
    good = [e for e in engines if "error" not in results[e]]
    text = (f"{label}: {args.width}×{args.height}, {args.batch_size} at a time with guidance, {args.steps} DDIM steps, "
            f"best of {args.rounds} rounds, {args.threads} threads\n\n")
    if good:
        baseline = REFERENCE if REFERENCE in good else good[0]
        text += table(engines, results, differences, left_out, baseline) + "\n"
        ratios = speedups(engines, results)
        text += "\n" + ratios + "\n" if ratios else ""
    text += "".join(f"\n{line}" for line in complaints + notes)
    options = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k not in ("easel", "work", "out")}
    report = {"label": label, "options": options, "results": results, "differences": differences,
              "summary": {e: summary(results[e]) for e in good}, "left_out": left_out, "complaints": complaints,
              "notes": notes}
    return report, text, complaints


def chart(report, about):
    values = report["summary"]
    engines = [e for e in report["results"] if e in values]
    xl = (Path(report["options"]["model"]) / "text_encoder_2").exists()
    title = f"Stable Diffusion {'XL' if xl else '1.5'}, {report['options']['width']}×{report['options']['height']}, " \
            f"guidance, {about['threads']} threads, {about['cpu']}"
    panels = [("UNet step", "s", "step", 1), ("VAE decode", "s", "decode", 1), ("20 steps, end to end", "s", "twenty_steps", 1),
              ("peak memory", "GB", "peak_memory_bytes", 1e-9)]
    return bar_chart(title, [(heading, unit, [(e, values[e][key] * factor) for e in engines])
                             for heading, unit, key, factor in panels])


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--easel", help="path of the easel command")
    parser.add_argument("--easel-model", help="the same model in another form, such as one file in LDM names, for easel")
    parser.add_argument("--easel-tokenizer", help="the vocabulary for a file that holds none")
    parser.add_argument("--engines", default=DEFAULT_ENGINES, help="comma-separated, in this order (default %(default)s); "
                        "also: diffusers-fp32-cl (channels last), sdcpp-fp16-fa (flash attention)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; the best counts (default %(default)s)")
    parser.add_argument("--also", default="", help="further settings, comma-separated: " + ", ".join(VARIANTS))
    parser.add_argument("--also-rounds", type=int, default=1, help="rounds of those (default %(default)s)")
    parser.add_argument("--timeout", type=int, default=3600, help="seconds for one process (default %(default)s)")
    parser.add_argument("--out", help="write OUT.md, OUT.json and OUT.svg")
    parser.add_argument("--work", help="folder to keep the random model, latents and OpenVINO models in (13 GB at full "
                        "size); default: temporary")
    args = parser.parse_args()
    if args.rounds < 1 or args.also_rounds < 1 or args.width % 8 or args.height % 8 or args.batch_size < 1:
        parser.error("rounds and batch size must be positive, width and height multiples of 8")
    if args.steps < 2:  # one step of DDIM stands at the last timestep, where the prediction hardly moves the latents
        parser.error("at least 2 steps")
    args.also = [name for name in args.also.split(",") if name]
    for name in args.also:
        if name not in VARIANTS:
            parser.error(f"--also: unknown setting {name}; known: {', '.join(VARIANTS)}")
    return args


def main():
    args = parse()
    temporary = None if args.work else tempfile.TemporaryDirectory()
    work = Path(args.work or temporary.name)
    work.mkdir(parents=True, exist_ok=True)
    if not args.model:
        make_model(args, work)
    engines, left_out = choose_engines(args)
    if not engines:
        sys.exit("nothing to run: " + ", ".join(f"{e} ({r})" for e, r in left_out.items()))
    about = machine(args.threads)
    reports, texts, complaints = [], [], []
    settings = [("main", {}), *((name, {**VARIANTS[name], "rounds": args.also_rounds}) for name in args.also)]
    for label, changes in settings:
        options = argparse.Namespace(**{**vars(args), **changes})
        try:
            report, text, wrong = benchmark(label, options, engines, left_out, work / label)
        except Failure as error:  # the other settings can still be measured
            print(f"{label} FAILED: {error}", file=sys.stderr, flush=True)
            complaints.append(f"{label}: {error}")
            continue
        reports.append(report)
        texts.append(text)
        complaints += [f"{label}: {line}" for line in wrong]
        print(text + "\n", flush=True)
        if args.out:  # after each setting, so that an interrupted run leaves what it has
            head = f"{about['cpu']}, " + ", ".join(f"{k} {v}" for k, v in about["versions"].items())
            Path(args.out + ".md").write_text(head + "\n\n" + "\n\n".join(texts) + "\n")
            Path(args.out + ".json").write_text(json.dumps({"machine": about, "settings": reports}, indent=1) + "\n")
            if label == "main" and report["summary"]:
                Path(args.out + ".svg").write_text(chart(report, about))
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
