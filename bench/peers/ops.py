"""Times torch's operators on the list that bench_ops measured, and merges both into one table.

    for i in 1 2 3; do build/bench/bench_ops --json ops$i.json; done
    python3 bench/peers/ops.py ops1.json ops2.json ops3.json --out ops_with_torch

Of several runs the best of each row counts, and torch is measured as often.

Torch runs oneDNN and MKL underneath. It is given the products alone: inputs already in the dtype of
the products, weights prepared, a bias where the layer has one, no other epilogue; never more work
than easel's kernel does. Convolutions run channels last, attention through
scaled_dot_product_attention. The table shows, for every shape, easel's row, its rate and share of
the peak, and how many times faster it is than torch and than Debian's oneDNN (in ops.json where
bench_ops was built with it). The exit status is 1 where an SD1.5 shape of a dense layer,
convolution or attention is slower than the faster of the two.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path


def attribute(text, name, default):
    """The number after `name=` in the attributes of a row."""
    found = re.search(rf"\b{name}=(-?[0-9.e-]+)", text)
    return type(default)(found.group(1)) if found else default


def torch_call(row):
    """A function that runs the row's product once, or None where there is no counterpart."""
    import torch
    import torch.nn.functional as F

    dtype = torch.bfloat16 if row["precision"] == "bf16" else torch.float32
    shapes = [argument["shape"] for argument in row["inputs"]]
    text = row["attributes"]
    generator = torch.Generator().manual_seed(0)

    def values(shape):
        return torch.randn(shape, generator=generator).to(dtype)
    has_bias = " bias" in text
    if row["operator"] == "linear":
        x, w = values(shapes[0]), values(shapes[1])
        bias = values(shapes[2]) if has_bias else None
        return lambda: F.linear(x, w, bias)
    if row["operator"] == "conv2d":
        x = values(shapes[0]).permute(0, 3, 1, 2)  # channels last in memory
        w = values(shapes[1]).contiguous(memory_format=torch.channels_last)
        bias = values(shapes[2]) if has_bias else None
        pads = [int(v) for v in re.search(r"pad=\[([^\]]*)\]", text).group(1).split(",")] if "pad=" in text else [0] * 4
        if pads[0] != pads[2] or pads[1] != pads[3]:
            return None
        return lambda: F.conv2d(x, w, bias, stride=attribute(text, "stride", 1), padding=(pads[0], pads[1]))
    if row["operator"] == "attention":
        heads = attribute(text, "heads", 1)
        q, k, v = (values([s[0], s[1], heads, s[2] // heads]).transpose(1, 2) for s in shapes)
        scale = attribute(text, "scale", 1.0)
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal="causal" in text, scale=scale)
    return None


def best_seconds(body):
    """As bench_ops measures: at least three runs and 0.4 s, at most 50, no further one after 5 s."""
    best, start = float("inf"), time.perf_counter()
    for i in range(50):
        if i >= 3 and time.perf_counter() - start >= 0.4:
            break
        begin = time.perf_counter()
        body()
        end = time.perf_counter()
        best = min(best, end - begin)
        if end - start > 5:
            break
    return best


def best_of(reports):
    """One report with the smallest seconds of every row and the highest peaks. They must list the same rows."""
    best = reports[0]
    for report in reports[1:]:
        for name, peak in report["peaks"].items():
            best["peaks"][name] = max(best["peaks"][name], peak)
        for row, other in zip(best["rows"], report["rows"], strict=True):
            if (row["operator"], row["attributes"], row["inputs"]) != (other["operator"], other["attributes"], other["inputs"]):
                sys.exit("the reports list different rows: they must come from one build, with the same options")
            for key in ("seconds", "onednn_seconds"):
                if key in row:
                    row[key] = min(row[key], other[key])
    for row in best["rows"]:
        peak = best["peaks"]["bf16_gflops" if row["precision"] == "bf16" else "f32_gflops"]
        if row["flops"]:
            row["share_of_peak"] = row["flops"] * 1e-9 / row["seconds"] / peak
    return best


def measure(report, rounds):
    """Adds `torch_seconds` to the rows of kernels that easel would choose: the best of `rounds` measurements."""
    import torch

    torch.set_num_threads(report["threads"])
    torch.set_grad_enabled(False)
    report["torch"] = torch.__version__
    for row in report["rows"]:
        if not row["chosen"] or row["flops"] == 0:
            continue
        body = torch_call(row)
        if body is None:
            continue
        row["torch_seconds"] = min(best_seconds(body) for _ in range(rounds))
        print(f"{row['model']} {row['operator']}{row['attributes']} {row['inputs'][0]['shape']} "
              f"torch {row['torch_seconds'] * 1e3:.3f} ms, easel {row['seconds'] * 1e3:.3f} ms", file=sys.stderr, flush=True)


def rate(row, seconds):
    return f"{row['flops'] / seconds * 1e-9:.0f}"


def table(report):
    """A markdown table of everything that is counted in operations."""
    onednn = report.get("onednn") or "oneDNN"
    lines = [f"| | operator | shapes | row | GFLOP/s | share of peak | torch {report['torch']} | easel : torch | {onednn} "
             "| easel : oneDNN |", "|---|---|---|---|---:|---:|---:|---:|---:|---:|"]
    for row in report["rows"]:
        if row["flops"] == 0:
            continue
        shapes = " ".join("×".join(map(str, argument["shape"])) for argument in row["inputs"][:2])
        cells = [row["model"], f"{row['operator']}{row['attributes']} {row['precision']}", shapes, row["kernel"],
                 rate(row, row["seconds"]), f"{100 * row['share_of_peak']:.0f} %"]
        for key in ("torch_seconds", "onednn_seconds"):
            cells += [rate(row, row[key]), f"{row[key] / row['seconds']:.2f} ×"] if key in row else ["–", "–"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def slower(report):
    """SD1.5 rows that lose against the faster of torch and oneDNN, as lines."""
    out = []
    for row in report["rows"]:
        others = [row[key] for key in ("torch_seconds", "onednn_seconds") if key in row]
        if row["model"] == "sd15" and row["chosen"] and others and min(others) < row["seconds"]:
            out.append(f"{row['operator']}{row['attributes']} {row['precision']} "
                       f"{' '.join(str(a['shape']) for a in row['inputs'][:2])}: {row['kernel']} takes "
                       f"{row['seconds'] / min(others):.2f} times as long")
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", help="what bench_ops --json wrote, once or several times")
    parser.add_argument("--out", help="write OUT.md and OUT.json")
    args = parser.parse_args()
    report = best_of([json.loads(Path(path).read_text()) for path in args.reports])
    measure(report, len(args.reports))
    peaks = report["peaks"]
    text = (f"{report['device']}, {report['isa']}, {report['threads']} threads; peaks in the same run: f32 "
            f"{peaks['f32_gflops']:.0f}, bf16 {peaks['bf16_gflops']:.0f} GFLOP/s, copy {peaks['copy_gbps']:.0f} GB/s\n\n"
            + table(report))
    print(text)
    if args.out:
        Path(args.out + ".md").write_text(text + "\n")
        Path(args.out + ".json").write_text(json.dumps(report, indent=1) + "\n")
    lost = slower(report)
    if lost:
        sys.exit("SD1.5 shapes slower than the faster of torch and oneDNN:\n" + "\n".join(lost))


if __name__ == "__main__":
    main()
