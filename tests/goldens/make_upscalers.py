"""Makes the goldens of the upscaling networks: tests/goldens/upscale.

    python3 tests/goldens/make_upscalers.py

The networks are written here once more from their published definitions (Wang et al. 2018 and 2021), in torch and
channels first. Weights are seeded: tensor NAME holds torch.randn with the seed FNV-1a 32 of NAME, divided by the square
root of the number of values that each result sums; biases are a tenth of such numbers and slopes a quarter plus a tenth
of them. So networks of the true size need no weights here: tests make them anew. Small ones are in files too, in every
naming, written as the training programs write them.

    index.json       one entry per case: network, sizes, files of its weights, tensors
    goldens.safetensors  in.CASE [B, H, W, 3] and out.CASE, float32; jitter.CASE: what random last bits of the weights do
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).resolve().parent / "upscale"


def seed_of(name):
    value = 2166136261
    for byte in name.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def seeded(name, shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed_of(name)))
    if name.endswith(".bias"):
        return values * 0.1
    if len(shape) == 1:
        return values * 0.1 + 0.25
    return values / math.sqrt(math.prod(shape[1:]))


def lrelu(x):
    return F.leaky_relu(x, 0.2)


class DenseBlock(nn.Module):
    def __init__(self, nf, gc):
        super().__init__()
        for i in range(5):
            setattr(self, f"conv{i + 1}", nn.Conv2d(nf + i * gc, gc if i < 4 else nf, 3, padding=1))

    def forward(self, x):
        made = [x]
        for i in range(1, 5):
            made.append(lrelu(getattr(self, f"conv{i}")(torch.cat(made, 1))))
        return self.conv5(torch.cat(made, 1)) * 0.2 + x


class RRDB(nn.Module):
    def __init__(self, nf, gc):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = DenseBlock(nf, gc), DenseBlock(nf, gc), DenseBlock(nf, gc)

    def forward(self, x):
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RRDBNet(nn.Module):
    """BasicSR's names; `ups` factors of two after `unshuffle`."""

    def __init__(self, nf=64, gc=32, nb=23, ups=2, unshuffle=1):
        super().__init__()
        self.ups, self.unshuffle = ups, unshuffle
        self.conv_first = nn.Conv2d(3 * unshuffle**2, nf, 3, padding=1)
        self.body = nn.Sequential(*[RRDB(nf, gc) for _ in range(nb)])
        self.conv_body = nn.Conv2d(nf, nf, 3, padding=1)
        for i in range(ups):
            setattr(self, f"conv_up{i + 1}", nn.Conv2d(nf, nf, 3, padding=1))
        self.conv_hr = nn.Conv2d(nf, nf, 3, padding=1)
        self.conv_last = nn.Conv2d(nf, 3, 3, padding=1)

    def forward(self, x):
        x = F.pixel_unshuffle(x, self.unshuffle)
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        for i in range(self.ups):
            x = lrelu(getattr(self, f"conv_up{i + 1}")(F.interpolate(x, scale_factor=2, mode="nearest")))
        return self.conv_last(lrelu(self.conv_hr(x)))


class SRVGG(nn.Module):
    def __init__(self, nf=64, convs=16, scale=4):
        super().__init__()
        self.scale = scale
        self.body = nn.ModuleList()
        for i in range(convs + 1):
            self.body += [nn.Conv2d(nf if i else 3, nf, 3, padding=1), nn.PReLU(nf)]
        self.body.append(nn.Conv2d(nf, 3 * scale**2, 3, padding=1))

    def forward(self, x):
        y = x
        for layer in self.body:
            y = layer(y)
        return F.pixel_shuffle(y, self.scale) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


def sequential_names(state, nb, ups):
    """The names of the first ESRGAN programs: one Sequential."""
    out = {}
    for name, value in state.items():
        parts = name.split(".")
        at = {"conv_first": "0", "conv_body": f"1.sub.{nb}", "conv_hr": f"{3 * ups + 2}", "conv_last": f"{3 * ups + 4}"}
        at |= {f"conv_up{i + 1}": f"{3 * i + 3}" for i in range(ups)}
        if parts[0] == "body":
            out[f"model.1.sub.{parts[1]}.RDB{parts[2][-1]}.{parts[3]}.0.{parts[4]}"] = value
        else:
            out[f"model.{at[parts[0]]}.{parts[1]}"] = value
    return out


def trunk_names(state):
    """The names of ESRGAN's repository."""
    renames = {"body.": "RRDB_trunk.", ".rdb": ".RDB", "conv_body": "trunk_conv", "conv_up": "upconv",
               "conv_hr": "HRconv"}
    out = {}
    for name, value in state.items():
        for old, new in renames.items():
            if old != "body." or name.startswith(old):
                name = name.replace(old, new)
        out[name] = value
    return out


def main():
    HERE.mkdir(exist_ok=True)
    tensors, index = {}, []

    def case(name, network, shape, files=(), **config):
        with torch.no_grad():
            state = {k: seeded(k, tuple(v.shape)) for k, v in network.state_dict().items()}
            network.load_state_dict(state)
            x = torch.rand(shape, generator=torch.Generator().manual_seed(seed_of(name)))
            y = network(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            signs = {k: 1 + (torch.rand(v.shape, generator=torch.Generator().manual_seed(seed_of(k) + 1)) < 0.5) * 2.0**-20
                     - 2.0**-21 for k, v in state.items()}
            network.load_state_dict({k: v * signs[k] for k, v in state.items()})
            moved = network(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        noise = (moved - y).double().norm() / y.double().norm()
        tensors[f"in.{name}"], tensors[f"out.{name}"] = x.contiguous(), y.contiguous()
        index.append({"name": name, "kind": type(network).__name__, "config": config, "files": list(files),
                      "jitter": float(f"{noise:.2e}")})
        print(name, tuple(y.shape), f"std {y.std():.3f} jitter {noise:.2e}")
        return state

    small = dict(nf=8, gc=4, nb=2)
    state = case("rrdb_x4", RRDBNet(**small), (1, 7, 9, 3),
                 ["rrdb_x4.pth", "rrdb_x4_sequential.pth", "rrdb_x4_trunk.safetensors"], **small, ups=2, unshuffle=1)
    # As training programs leave them: the averaged weights beside the last ones, which are others.
    torch.save({"params": {k: v * 0.5 for k, v in state.items()}, "params_ema": state}, HERE / "rrdb_x4.pth")
    torch.save(sequential_names(state, 2, 2), HERE / "rrdb_x4_sequential.pth", _use_new_zipfile_serialization=False)
    save_file(trunk_names(state), str(HERE / "rrdb_x4_trunk.safetensors"))
    state = case("rrdb_x2", RRDBNet(**small, unshuffle=2), (2, 10, 6, 3), ["rrdb_x2.safetensors"], **small, ups=2,
                 unshuffle=2)
    save_file(state, str(HERE / "rrdb_x2.safetensors"))
    state = case("rrdb_x2_sequential", RRDBNet(8, 4, 1, ups=1), (1, 6, 5, 3), ["rrdb_x2_sequential.safetensors"], nf=8,
                 gc=4, nb=1, ups=1, unshuffle=1)
    save_file(sequential_names(state, 1, 1), str(HERE / "rrdb_x2_sequential.safetensors"))
    state = case("compact_x4", SRVGG(8, 3, 4), (1, 7, 9, 3), ["compact_x4.pth"], nf=8, convs=3, scale=4)
    torch.save({"params": state}, HERE / "compact_x4.pth")
    state = case("compact_x2", SRVGG(6, 2, 2), (2, 5, 6, 3), ["compact_x2.safetensors"], nf=6, convs=2, scale=2)
    save_file(state, str(HERE / "compact_x2.safetensors"))
    # The true sizes: Real-ESRGAN x4plus, x2plus, x4plus anime; general-x4v3, animevideo.
    case("x4plus", RRDBNet(), (1, 9, 13, 3), nf=64, gc=32, nb=23, ups=2, unshuffle=1)
    case("x2plus", RRDBNet(unshuffle=2), (1, 14, 10, 3), nf=64, gc=32, nb=23, ups=2, unshuffle=2)
    case("x4plus_anime_6B", RRDBNet(nb=6), (1, 26, 25, 3), nf=64, gc=32, nb=6, ups=2, unshuffle=1)
    case("general_x4v3", SRVGG(64, 32, 4), (1, 13, 11, 3), nf=64, convs=32, scale=4)
    case("animevideo", SRVGG(64, 16, 4), (1, 25, 24, 3), nf=64, convs=16, scale=4)
    # A picture as files have it, and what the published program makes of it: rounded to 8 bits, halves to even.
    # (The network's own result is in the file, so that a rounding on the edge does not count.)
    save_file(tensors, str(HERE / "goldens.safetensors"))
    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
