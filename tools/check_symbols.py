#!/usr/bin/env python3
"""Checks the objects that hold the kernels of one instruction set each.

A sealed object may define no global symbol but easel_kernel_<id>, where KERNEL(<id>) stands in some kernels.inc:
anything else (an inline function, a std:: helper) would be shared with code compiled for other processors.
The raw objects, before sealing, must define the canary of isa_canary.cpp: that shows this check can fail.
"""
import argparse
import pathlib
import re
import subprocess
import sys

PREFIX = "easel_kernel_"
CANARY = "isa_leak_canary"


def global_symbols(path):
    lines = subprocess.run(["nm", "--extern-only", "--defined-only", "--format=posix", path],
                           check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[0] for line in lines if line and not line.endswith(":")]


def leaks(symbols):
    return [name for name in symbols if not name.startswith(PREFIX)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ops", type=pathlib.Path, required=True, help="the folder of the operators")
    parser.add_argument("--sealed", nargs="+", required=True)
    parser.add_argument("--raw", nargs="+", required=True)
    args = parser.parse_args()

    listed = set()
    for inc in args.ops.glob("*/kernels.inc"):
        listed.update(re.findall(r"^\s*KERNEL\((\w+)\)", inc.read_text(), re.MULTILINE))

    problems = []
    for path in args.sealed:
        symbols = global_symbols(path)
        problems += [f"{path}: global symbol {name}" for name in leaks(symbols)]
        problems += [f"{path}: {name} stands in no kernels.inc" for name in symbols
                     if name.startswith(PREFIX) and name[len(PREFIX):] not in listed]
    for path in args.raw:
        if not any(CANARY in name for name in leaks(global_symbols(path))):
            problems.append(f"{path}: the canary is missing, so this check could not fail")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(args.sealed)} objects, {len(listed)} kernels listed, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
