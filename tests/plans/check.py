#!/usr/bin/env python3
"""Compares the plans of known models with their record: kernel rows, numbers of nodes, and memory.

    EASEL=build/bin/easel python3 tests/plans/check.py             # exit status 1 where a plan became worse
    EASEL=build/bin/easel python3 tests/plans/check.py --update    # writes the record anew, for review as a diff
    python3 tests/plans/check.py --self-test

Planned for every instruction set that this machine has (EASEL_MAX_ISA), in fp32 and bf16, with two threads: the demo
model, Stable Diffusion 1.5 and SDXL at their own sizes. Weights are not needed. It fails if

- a call runs on a row that stands later in its operator's kernels.inc than the recorded one,
- nodes after the passes, commands, or bytes of activations, weights or the planned peak grow,
- a call is planned that the record does not know (something changed on purpose: update the record).

What became better or is gone is named, so that the record can follow. A record is a table of tab-separated columns, one for
each instruction set; a cell of a call reads "row×launches", "-" where that plan does not have the call.
"""
import argparse
import copy
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODELS = {"demo": ROOT / "demo" / "model", "sd15": ROOT / "bench" / "configs" / "sd15",
          "sdxl": ROOT / "bench" / "configs" / "sdxl"}
ISAS = ["baseline", "avx2", "avx512", "avx512_bf16"]
DTYPES = ["fp32", "bf16"]
COUNTS = ["nodes", "commands", "arena_bytes", "slot_bytes", "weight_bytes"]
SHOWN = 20  # lines of one kind for one plan
HEADER = ["part", "dtype", "what", *ISAS]
ABOUT = "# Plans of {model}, made by tests/plans/check.py --update. What each line guards is told there.\n"


def easel(*arguments, isa=None):
    command = [os.environ.get("EASEL", "easel"), *map(str, arguments)]
    environment = dict(os.environ)
    environment.pop("EASEL_MAX_ISA", None)
    if isa:
        environment["EASEL_MAX_ISA"] = isa
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"failed with {done.returncode}: {' '.join(command)}")
    return json.loads(done.stdout)


def usable_isas():
    """Those that the machine has, lowest first."""
    found = easel("devices", "--json")["devices"][0]["detected_isa"]
    return ISAS[:ISAS.index(found) + 1]


def plan(folder, dtype, isa):
    """({(part, what): number or {row: launches}}, {operator: rows, best first}) of a model."""
    report = easel("inspect", "--model", folder, "--dtype", dtype, "--threads", 2, "--kernels", "--json", isa=isa)
    cells = {("model", "peak_memory_bytes"): report["peak_memory_bytes"]}
    for part in report["components"]:
        for name in COUNTS:
            cells[part["name"], name] = part[name]
        for call in part["calls"]:
            cells[part["name"], f"{call['operator']}: {call['shapes']}"] = call["launches"]
    return cells, report["kernel_rows"]


def read_record(path):
    """{isa: {(part, dtype, what): number or {row: launches}}}"""
    record = {isa: {} for isa in ISAS}
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    if not lines or lines[0].split("\t") != HEADER:
        sys.exit(f"{path}: expected the columns {', '.join(HEADER)}")
    for line in lines[1:]:
        part, dtype, what, *cells = line.split("\t")
        for isa, cell in zip(ISAS, cells, strict=True):
            if cell == "-":
                continue
            record[isa][part, dtype, what] = int(cell) if cell.isdigit() else {
                row: int(count) for row, _, count in (item.partition("×") for item in cell.split(" "))}
    return record


def write_record(path, model, record):
    keys = list(dict.fromkeys(key for isa in reversed(ISAS) for key in record[isa]))

    def text(cell):
        if isinstance(cell, dict):
            return " ".join(f"{row}×{count}" for row, count in sorted(cell.items()))
        return "-" if cell is None else str(cell)
    # Numbers first, then calls by name: a change shows as few lines.
    keys.sort(key=lambda key: (DTYPES.index(key[1]), key[0] != "model", key[0], ":" in key[2],
                               COUNTS.index(key[2]) if key[2] in COUNTS else 0, key[2]))
    lines = ["\t".join([*key, *(text(record[isa].get(key)) for isa in ISAS)]) for key in keys]
    path.write_text(ABOUT.format(model=model) + "\t".join(HEADER) + "\n" + "\n".join(lines) + "\n", encoding="utf-8")


def ranks(launches, rows):
    """The places of all launches in the operator's list, worst first. A row that is gone stands before all others."""
    places = [rows.index(row) if row in rows else -1 for row, count in launches.items() for _ in range(count)]
    return sorted(places, reverse=True)


def compare(recorded, found, rows, dtype):
    """(what became worse, what became better or is gone), as lines. recorded: {(part, what): …}; found likewise."""
    worse, better = [], []
    for key, now in found.items():
        name = f"{dtype} {key[0]} {key[1]}"
        before = recorded.get(key)
        if before is None:
            worse.append(f"{name}: not in the record")
        elif isinstance(now, dict):
            operator = key[1].split(":")[0].split(" ")[0]
            old, new = ranks(before, rows[operator]), ranks(now, rows[operator])
            if any(n > o for n, o in zip(new, old)):
                worse.append(f"{name}: expected {before}, found {now}")
            elif new != old:
                better.append(f"{name}: {before} is now {now}")
        elif now > before:
            worse.append(f"{name}: grew from {before} to {now}")
        elif now < before:
            better.append(f"{name}: fell from {before} to {now}")
    better += [f"{dtype} {key[0]} {key[1]}: is gone" for key in recorded if key not in found]
    return worse, better


def check(update):
    isas = usable_isas()
    failed = False
    for model, folder in MODELS.items():
        path = HERE / f"{model}.tsv"
        record = read_record(path) if path.exists() else {isa: {} for isa in ISAS}
        for isa in isas:
            plans = {dtype: plan(folder, dtype, isa) for dtype in DTYPES}
            if update:
                record[isa] = {(part, dtype, what): cell for dtype in DTYPES
                               for (part, what), cell in plans[dtype][0].items()}
                continue
            for dtype, (found, rows) in plans.items():
                recorded = {(part, what): cell for (part, d, what), cell in record[isa].items() if d == dtype}
                worse, better = compare(recorded, found, rows, dtype)
                for label, lines in (("WORSE", worse), ("note:", better)):
                    for line in lines[:SHOWN]:
                        print(f"{model} {isa}: {label} {line}")
                    if len(lines) > SHOWN:
                        print(f"{model} {isa}: {label} and {len(lines) - SHOWN} more")
                failed |= bool(worse)
        if update:
            write_record(path, model, record)
            print(f"wrote {path}")
    skipped = [isa for isa in ISAS if isa not in isas]
    print(f"plans of {', '.join(MODELS)} for {', '.join(isas)}"
          + (f"; skipped, this machine has no {', no '.join(skipped)}" if skipped else ""))
    if failed:
        print("where this is meant: EASEL=build/bin/easel python3 tests/plans/check.py --update, and commit the record")
    return 1 if failed else 0


def self_test():
    """The comparison finds every kind of loss, and nothing where there is none."""
    rows = {"linear": ["fast", "slow", "reference"]}
    call = ("unet", "linear bias: f32 [2, 3] -> [2, 4]")
    recorded = {("unet", "nodes"): 10, ("unet", "arena_bytes"): 640, call: {"fast": 2, "slow": 1}}

    def changed(key, value):
        out = copy.deepcopy(recorded)
        out[key] = value
        return out
    worse = {"a slower row": changed(call, {"fast": 1, "slow": 2}), "the reference": changed(call, {"reference": 3}),
             "a launch more on the slow row": changed(call, {"fast": 2, "slow": 2}),
             "more nodes": changed(("unet", "nodes"), 11), "more memory": changed(("unet", "arena_bytes"), 641),
             "an unknown call": changed(("unet", "linear: f32 [1] -> [1]"), {"fast": 1})}
    same = {"the same": recorded, "a faster row": changed(call, {"fast": 3}), "fewer nodes": changed(("unet", "nodes"), 9)}
    failures = [name for name, found in worse.items() if not compare(recorded, found, rows, "fp32")[0]]
    failures += [name for name, found in same.items() if compare(recorded, found, rows, "fp32")[0]]
    failures += [name for name in ("a faster row", "fewer nodes") if not compare(recorded, same[name], rows, "fp32")[1]]
    print("\n".join(f"self-test: wrong about {name}" for name in failures)
          or f"self-test: {len(worse)} losses found, none where there are none")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the record anew for the sets this machine has")
    parser.add_argument("--self-test", action="store_true", help="show that the comparison can fail")
    options = parser.parse_args()
    return self_test() if options.self_test else check(options.update)


if __name__ == "__main__":
    sys.exit(main())
