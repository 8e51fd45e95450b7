"""Makes adapters for the tiny Stable Diffusion 1.5 model `a` and what diffusers and peft make of them.

    python3 tests/goldens/make_lora.py      # after make_sd15.py; into tests/goldens/lora/, about a minute

Run by developers only, with torch (CPU), diffusers, transformers, peft and safetensors. Every case names its adapters
with their weights, and holds the last latents and the embeddings of both prompts:

    reference "diffusers"   the file as StableDiffusionPipeline.load_lora_weights reads it, with set_adapters
    reference "peft"        the file as peft saved it, its layers inside the UNet
    reference "formula"     where neither reads the file: W + ΔW in float64 from the published formula, below

`jitter` is what random last bits of the weights do to a golden, `effect` what the adapters do: the relative change of
the latents from those without them.
"""

import json
import math
import shutil
from pathlib import Path

import diffusers
import peft
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from sd15_common import BOUNDS, HERE as SD15, generator_for, jitter, relative_l2, write_json

OUT = Path(__file__).resolve().parent / "lora"
PROMPT, NEGATIVE, STEPS, SIDE, SCALE = "a red balloon over the sea", "blurry", 3, 40, 4.0


def new_pipe():
    pipe = StableDiffusionPipeline.from_pretrained(SD15 / "a", dtype=torch.float32, local_files_only=True,
                                                   safety_checker=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    return pipe


def latents():
    return torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(71))


def run(pipe):
    with torch.no_grad():
        last = pipe(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=STEPS, guidance_scale=SCALE,
                    height=SIDE, width=SIDE, latents=latents(), output_type="latent").images
        embeds, negative = pipe.encode_prompt(PROMPT, "cpu", 1, True, NEGATIVE)
    return {"latents": last, "prompt_embeds": embeds, "negative_prompt_embeds": negative}


def noise(name, *shape, gain=1.0, dtype=torch.float16):
    """Random numbers that depend on the name alone, in the dtype of the file."""
    return (gain * torch.randn(*shape, generator=generator_for(name, 5))).to(dtype)


# ---- What the layers are ---------------------------------------------------------------------------------------------

PLAIN = new_pipe()
MODULES = {"unet": dict(PLAIN.unet.named_modules()), "text": dict(PLAIN.text_encoder.named_modules())}
UNET = {n: m.weight for n, m in MODULES["unet"].items()
        if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))}
TEXT = {n: m.weight for n, m in MODULES["text"].items() if isinstance(m, torch.nn.Linear)}
ATTENTION = [n for n in UNET if n.endswith(("to_q", "to_k", "to_v", "to_out.0"))]
TRANSFORMER = [n for n in UNET if ".attentions." in n]
CONVS = [n for n, w in UNET.items() if ".resnets." in n or "samplers" in n]


def old(name):
    """Text encoder modules as transformers 4 named them, which files still do."""
    return name if name.startswith("text_model.") else "text_model." + name


def kohya(name, component="unet"):
    return ("lora_unet_" + name if component == "unet" else "lora_te_" + old(name)).replace(".", "_")


def factors(name, weight, rank, gain=0.5, dtype=torch.float16):
    """up [O, r] and down [r, I], or their kernels; ΔW is about `gain` times as large as W."""
    out, into = weight.shape[:2]
    up = noise(name + ".up", out, rank, gain=gain / math.sqrt(rank), dtype=dtype)
    fan_in = weight[0].numel()
    if weight.ndim == 2:
        return up, noise(name + ".down", rank, into, gain=fan_in**-0.5, dtype=dtype)
    return (up.reshape(out, rank, 1, 1),
            noise(name + ".down", rank, into, *weight.shape[2:], gain=fan_in**-0.5, dtype=dtype))


def save(name, tensors, metadata=None):
    path = OUT / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, str(path), metadata=metadata)
    path.chmod(0o644)
    return path.relative_to(OUT).as_posix()


# ---- Formulas, for what neither library reads ------------------------------------------------------------------------

def cp(core, a, b):
    """Σ core[i, j, k, l] a[i, p] b[j, r] → [p, r, k, l]."""
    return torch.einsum("ijkl,ip,jr->prkl", core.double(), a.double(), b.double())


def merge(pipe, deltas, weight=1.0):
    """deltas: {(component, module): ΔW, or a function of W that gives the new W}."""
    with torch.no_grad():
        for (component, name), delta in deltas.items():
            module = dict((pipe.unet if component == "unet" else pipe.text_encoder).named_modules())[name]
            w = module.weight.double()
            new = delta(w) if callable(delta) else w + weight * delta.double().reshape(w.shape)
            module.weight.copy_(new.float())


# ---- Cases -----------------------------------------------------------------------------------------------------------

CASES = []


def case(name, reference, loras, prepare):
    """loras: [(file, UNet weight, text encoder weight)]; prepare(pipe) makes the reference's networks."""
    CASES.append(dict(name=name, reference=reference, loras=loras, prepare=prepare))


def through_diffusers(loras):
    """Each component's adapters weighted by itself, as set_adapters does."""
    def prepare(pipe):
        names = []
        for i, (file, unet, text) in enumerate(loras):
            pipe.load_lora_weights(str(OUT / Path(file).parent), weight_name=Path(file).name, adapter_name=f"l{i}")
            names.append(f"l{i}")
        for component, column in ((pipe.unet, 1), (pipe.text_encoder, 2)):
            if not hasattr(component, "peft_config"):
                continue
            own = [n for n in names if n in component.peft_config]
            weights = [loras[names.index(n)][column] for n in own]
            if component is pipe.unet:
                component.set_adapters(own, weights)
            else:
                from diffusers.utils import set_weights_and_activate_adapters
                set_weights_and_activate_adapters(component, own, weights)
    return prepare


def kohya_file(name, layers, ranks, alpha, dora=False, dtype=torch.float16, text=True, metadata=None, alphas=True):
    """A file of kohya's scripts: ranks in turn, a constant alpha."""
    tensors = {}
    targets = [("unet", n, UNET[n]) for n in layers] + [("text", n, w) for n, w in TEXT.items() if text]
    for i, (component, module, weight) in enumerate(targets):
        rank = ranks[i % len(ranks)]
        up, down = factors(f"{name}.{module}", weight, rank, dtype=dtype)
        key = kohya(module, component)
        tensors |= {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down}
        if alphas:
            tensors[f"{key}.alpha"] = torch.tensor(float(alpha if component == "unet" else 1.5), dtype=dtype)
        if dora:
            norm = weight.flatten(1).norm(dim=1)
            scale = norm * (1 + 0.3 * noise(f"{name}.{module}.m", len(norm), dtype=torch.float32))
            tensors[f"{key}.dora_scale"] = scale.reshape(-1, *[1] * (weight.ndim - 1)).to(dtype)
    return save(name, tensors, metadata)


def make_plain():
    meta = {"ss_base_model_version": "sd_v1", "ss_network_module": "networks.lora"}
    file = kohya_file("kohya", TRANSFORMER, [3, 2, 4], 2.0, metadata=meta)
    case("kohya", "diffusers", [(file, 1, 1)], through_diffusers([(file, 1, 1)]))
    case("kohya_weights", "diffusers", [(file, 0.6, -0.5)], through_diffusers([(file, 0.6, -0.5)]))
    conv = kohya_file("locon", CONVS + ["conv_in", "conv_out"], [2], 1.0, text=False, dtype=torch.bfloat16)
    case("locon", "diffusers", [(conv, 0.8, 1)], through_diffusers([(conv, 0.8, 1)]))
    case("stacked", "diffusers", [(file, 0.7, 0.5), (conv, -0.4, 1)],
         through_diffusers([(file, 0.7, 0.5), (conv, -0.4, 1)]))
    none = kohya_file("no_alpha", ATTENTION, [3], 0, text=False, alphas=False, dtype=torch.float32)
    case("no_alpha", "diffusers", [(none, 1, 1)], through_diffusers([(none, 1, 1)]))
    dora = kohya_file("dora", TRANSFORMER, [3], 2.0, dora=True, text=False)
    # diffusers leaves dora_scale out.
    case("dora", "formula", [(dora, 1, 1)],
         lambda p: merge(p, {("unet", n): lambda w, n=n: w + dora_delta(w, dora, n, 1) for n in TRANSFORMER}))
    case("dora_stacked", "formula", [(dora, 0.6, 0), (file, 0.5, 0)],
         lambda p: merge(p, {("unet", n): lambda w, n=n: w + dora_delta(w, dora, n, 0.6) + lora_delta(w, file, n, 0.5)
                             for n in TRANSFORMER}))


def lora_delta(w, file, module, weight):
    state = load_file(OUT / file)
    up, down, alpha = (state[f"{kohya(module)}.{end}"] for end in ("lora_up.weight", "lora_down.weight", "alpha"))
    return weight * (alpha.double() / down.shape[0]) * product(up, down).reshape(w.shape)


def dora_delta(w, file, module, weight):
    """m (W + ΔW) / |W + ΔW| − W: each adapter by itself, as peft runs them unmerged."""
    m = load_file(OUT / file)[f"{kohya(module)}.dora_scale"].double()
    v = w + lora_delta(w, file, module, weight)
    return m * v / v.flatten(1).norm(dim=1).reshape(m.shape) - w


def make_diffusers():
    """As save_lora_weights writes it, with the configuration in the metadata; and as early versions did."""
    pipe = new_pipe()
    pipe.unet.add_adapter(peft.LoraConfig(r=3, lora_alpha=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"],
                                          init_lora_weights=False, rank_pattern={"attn2.to_k": 2}))
    pipe.text_encoder.add_adapter(peft.LoraConfig(r=2, lora_alpha=5, target_modules=["q_proj", "v_proj"],
                                                  init_lora_weights=False))
    fill(pipe.unet, "diffusers")
    fill(pipe.text_encoder, "diffusers.text")
    state = {f"unet.{k}": v.half() for k, v in peft.get_peft_model_state_dict(pipe.unet).items()}
    state |= {f"text_encoder.{old(k)}": v.half() for k, v in peft.get_peft_model_state_dict(pipe.text_encoder).items()}
    configs = {"unet.r": 3, "unet.lora_alpha": 2, "unet.rank_pattern": {"attn2.to_k": 2}, "unet.alpha_pattern": {},
               "unet.use_rslora": False, "text_encoder.r": 2, "text_encoder.lora_alpha": 5}
    file = save("diffusers", state, {"format": "pt", "lora_adapter_metadata": json.dumps(configs)})

    def same(other):
        for mine, its in ((pipe.unet, other.unet), (pipe.text_encoder, other.text_encoder)):
            with torch.no_grad():
                for p in mine.parameters():
                    p.copy_(p.half().float() if p.requires_grad else p)
        other.unet, other.text_encoder = pipe.unet, pipe.text_encoder
    case("diffusers", "peft", [(file, 1, 1)], same)

    # diffusers until 0.20: processors of attention, no prefix for the UNet, no alpha.
    tensors = {}
    for n in ATTENTION:
        up, down = factors("early." + n, UNET[n], 2)
        short = n.removesuffix(".0").rsplit(".", 1)
        key = f"{short[0]}.processor.{short[1]}_lora"
        tensors |= {f"{key}.up.weight": up, f"{key}.down.weight": down}
    early = save("early", tensors)
    case("early", "formula", [(early, 1, 1)],
         lambda p: merge(p, {("unet", n): product(*factors("early." + n, UNET[n], 2)) for n in ATTENTION}))


def product(up, down):
    return (up.double().flatten(1) @ down.double().flatten(1))


def fill(module, name):
    """Random numbers for the adapters of a module, as float16 holds them."""
    with torch.no_grad():
        for key, p in module.named_parameters():
            if not p.requires_grad:
                continue
            if "magnitude" in key:
                p.mul_(1 + 0.3 * noise(f"{name}.{key}", *p.shape, dtype=torch.float32))
            else:
                gain = 0.4 if any(s in key for s in ("lora_B", "w1_a", "w2_a", "lokr_w1")) else p[0].numel()**-0.5
                p.copy_(noise(f"{name}.{key}", *p.shape, gain=gain, dtype=torch.float32))
            p.copy_(p.half().float())


def make_peft():
    """Models wrapped by peft, saved by peft: adapter_model.safetensors with adapter_config.json."""
    linear = ["to_q", "to_k", "to_v", "to_out.0", "net.2"]
    biased = ["to_out.0", "net.2"]
    conv = ["conv1", "conv2", "conv_shortcut", "proj_in"]
    configs = {
        "peft_lora": peft.LoraConfig(r=3, lora_alpha=4, use_rslora=True, target_modules=biased + conv,
                                     init_lora_weights=False, lora_bias=True, bias="none",
                                     rank_pattern={"attn1.to_out.0": 2}, alpha_pattern={"attn1.to_out.0": 7}),
        "peft_dora": peft.LoraConfig(r=2, lora_alpha=3, use_dora=True, target_modules=linear + conv,
                                     init_lora_weights=False),
        "peft_loha": peft.LoHaConfig(r=2, alpha=3, target_modules=linear + conv, init_weights=False,
                                     use_effective_conv2d=True),
        "peft_lokr": peft.LoKrConfig(r=2, alpha=3, target_modules=linear + conv, init_weights=False,
                                     decompose_both=True, use_effective_conv2d=True, decompose_factor=3),
        "peft_lokr_whole": peft.LoKrConfig(r=16, alpha=8, target_modules=linear + conv, init_weights=False,
                                           decompose_factor=4),
    }
    for name, config in configs.items():
        wrapped = peft.get_peft_model(new_pipe().unet, config)
        fill(wrapped, name)
        folder = OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        wrapped.save_pretrained(str(folder))
        (folder / "README.md").unlink(missing_ok=True)
        state = load_file(folder / "adapter_model.safetensors")
        save_file({k: v.half() for k, v in state.items()}, str(folder / "adapter_model.safetensors"))
        (folder / "adapter_model.safetensors").chmod(0o644)
        values = json.loads((folder / "adapter_config.json").read_text())
        keep = ("peft_type", "r", "lora_alpha", "alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern",
                "target_modules", "lora_bias", "decompose_both", "decompose_factor", "use_effective_conv2d")
        write_json(folder / "adapter_config.json", {k: sorted(v) if k == "target_modules" else v
                                                    for k, v in values.items() if k in keep})

        def prepare(pipe, wrapped=wrapped):
            pipe.unet = wrapped.base_model.model.eval()
        case(name, "peft", [(name, 1, 1)], prepare)
        if name in ("peft_loha", "peft_lokr"):
            make_lycoris(name.removeprefix("peft_"), wrapped, 1.25)


def make_lycoris(kind, wrapped, alpha):
    """The same tensors in LyCORIS's names, with another alpha per layer and weight."""
    tensors, deltas = {}, {}
    state = {k.removeprefix("base_model.model."): v for k, v in peft.get_peft_model_state_dict(wrapped).items()}
    for module in sorted({k.split(".hada_")[0].split(".lokr_")[0] for k in state}):
        own = {k.removeprefix(module + "."): v for k, v in state.items() if k.startswith(module + ".")}
        tensors |= {f"{kohya(module)}.{k}": v.half() for k, v in own.items()}
        tensors[f"{kohya(module)}.alpha"] = torch.tensor(alpha)
        layer = dict(wrapped.base_model.model.named_modules())[module]
        scaling = layer.scaling["default"]
        decomposed = any(k.endswith("_b") for k in own)
        rank = 2
        s = alpha / rank if decomposed else 1.0
        deltas["unet", module] = layer.get_delta_weight("default").detach().double() / scaling * s
    file = save(f"lycoris_{kind}", tensors)
    case(f"lycoris_{kind}", "formula", [(file, 0.75, 1)], lambda p: merge(p, deltas, 0.75))


def make_rest():
    """CP-decomposed LoCon, whole differences, norms and biases, DoRA along input channels: LyCORIS."""
    tensors, deltas = {}, {}
    for n in [n for n in CONVS if UNET[n].shape[-1] == 3]:
        w, r = UNET[n], 2
        up = noise("cp.up" + n, w.shape[0], r, gain=0.5)
        mid = noise("cp.mid" + n, r, r, 3, 3, gain=0.4)
        down = noise("cp.down" + n, r, w.shape[1], gain=w.shape[1]**-0.5)
        tensors |= {f"{kohya(n)}.lora_up.weight": up.reshape(*up.shape, 1, 1), f"{kohya(n)}.lora_mid.weight": mid,
                    f"{kohya(n)}.lora_down.weight": down.reshape(*down.shape, 1, 1),
                    f"{kohya(n)}.alpha": torch.tensor(1.0)}
        deltas["unet", n] = cp(mid, up.T, down) * 1.0 / r
    for n in ("down_blocks.0.attentions.0.norm", "conv_norm_out"):
        w = MODULES["unet"][n].weight
        diff = noise("norm." + n, len(w), gain=0.2)
        tensors[f"{kohya(n)}.w_norm"] = diff
        tensors[f"{kohya(n)}.b_norm"] = torch.zeros(len(w), dtype=torch.float16)
        deltas["unet", n] = diff
    n = "up_blocks.1.attentions.0.proj_out"
    tensors[f"{kohya(n)}.diff"] = noise("diff", *UNET[n].shape, gain=0.1)
    deltas["unet", n] = tensors[f"{kohya(n)}.diff"]
    file = save("lycoris_rest", tensors)
    case("lycoris_rest", "formula", [(file, 1, 1)], lambda p: merge(p, deltas))

    tensors, made = {}, {}
    for n in ATTENTION + [n for n in CONVS if "conv1" in n]:
        w = UNET[n]
        up, down = factors("by_input." + n, w, 2)
        norm = w.transpose(0, 1).flatten(1).norm(dim=1)
        m = (norm * (1 + 0.3 * noise("by_input.m" + n, len(norm), dtype=torch.float32))).half()
        m = m.reshape(1, -1, *[1] * (w.ndim - 2))
        tensors |= {f"{kohya(n)}.lora_up.weight": up, f"{kohya(n)}.lora_down.weight": down,
                    f"{kohya(n)}.dora_scale": m, f"{kohya(n)}.alpha": torch.tensor(1.0)}

        def dora(w, up=up, down=down, m=m):
            v = w + product(up, down).reshape(w.shape) * 0.5
            length = v.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *[1] * (w.ndim - 2))
            return m.double() * v / length
        made["unet", n] = dora
    file = save("dora_by_input", tensors)
    case("dora_by_input", "formula", [(file, 1, 1)], lambda p: merge(p, made))


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    make_plain()
    make_diffusers()
    make_peft()
    make_rest()
    without = run(new_pipe())
    entries = []
    save_file({"latents": latents()}, str(OUT / "initial_latents.safetensors"))
    for c in CASES:
        pipe = new_pipe()
        c["prepare"](pipe)
        pipe.unet.eval()
        want = run(pipe)
        for module in (pipe.unet, pipe.text_encoder):
            jitter(module, 1)
        again = run(pipe)
        noise_of = {k: relative_l2(again[k], want[k]) for k in want}
        effect = relative_l2(want["latents"], without["latents"])
        assert 0.02 < effect < 3 and all(torch.isfinite(v).all() for v in want.values()), (c["name"], effect)
        save_file({k: v.contiguous() for k, v in want.items()}, str(OUT / f"case_{c['name']}.safetensors"))
        entries.append({"name": c["name"], "reference": c["reference"], "loras": c["loras"],
                        "expected": f"case_{c['name']}.safetensors", "jitter": noise_of, "effect": effect})
        print(f"{c['name']:20} {c['reference']:10} effect {effect:.3f}  jitter {noise_of['latents']:.1e}")
    for path in OUT.glob("*.safetensors"):
        path.chmod(0o644)
    args = ["--prompt", PROMPT, "--negative-prompt", NEGATIVE, "--steps", str(STEPS), "--guidance-scale", str(SCALE),
            "--width", str(SIDE), "--height", str(SIDE), "--sampler", "ddim", "--dtype", "fp32"]
    write_json(OUT / "index.json", {"bounds": BOUNDS, "model": "a", "args": args, "cases": entries})


if __name__ == "__main__":
    main()
