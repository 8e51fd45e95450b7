"""Goldens of ControlNets: what diffusers' pipelines make of them on the tiny models of make_sd15.py and make_families.py.

    python3 tests/goldens/make_control.py

writes tests/goldens/control/:
  NET/                   ControlNets and T2I-Adapters as diffusers saves them, fp16, with random weights everywhere (zero convolutions too)
  original_names.tsv     every tensor of the net `edges`: name in diffusers, name in the original program
  edges.png, depth.png   control pictures; beside them those of jobs/ are used
  index.json             the cases: `model`, `channels` (of the UNet's input, as in jobs/), `nets` (folder and fields of
                         its config.json that are other), `args` of `easel generate` (files as "@NAME" here and "@@NAME"
                         in jobs/, nets as "%NUMBER"), `scheduler_config`, `iterations`, `jitter` as in sd15/index.json
  NAME.safetensors       what each case expects: latents.0 … and decoded
  module_NET.safetensors inputs and outputs of one ControlNetModel alone, channels first
"""

import diffusers
import numpy as np
import torch
import transformers
from diffusers import (ControlNetModel, MultiAdapter, StableDiffusionAdapterPipeline, StableDiffusionXLAdapterPipeline,
                       T2IAdapter, StableDiffusionControlNetImg2ImgPipeline, StableDiffusionControlNetInpaintPipeline,
                       StableDiffusionControlNetPipeline, StableDiffusionPipeline,
                       StableDiffusionXLControlNetImg2ImgPipeline, StableDiffusionXLControlNetPipeline)
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from PIL import Image, ImageDraw

from make_jobs import XL, make_pipeline, parts_of, picture
from make_jobs import HERE as JOBS
from make_sd15 import NEGATIVE, PROMPT, with_class
from sd15_common import BOUNDS, HERE as MODELS, jitter, randomize, relative_l2, save_tensors, write_json
from sd15_ldm import unet_name

HERE = MODELS.parent / "control"
SD2 = "families/sd2"
NETS = {"edges": ("a", 31), "depth": ("a", 32), "sd2": (SD2, 33), "xl": (XL, 34)}
ADAPTERS = {"full": (dict(adapter_type="full_adapter", channels=[8, 16], num_res_blocks=2), 41),
            "light": (dict(adapter_type="light_adapter", channels=[8, 16], num_res_blocks=2), 42),
            "full_xl": (dict(adapter_type="full_adapter_xl", channels=[8, 8, 16, 16], num_res_blocks=2,
                             downscale_factor=16), 43),
            "gray": (dict(adapter_type="full_adapter", in_channels=1, channels=[24, 27], num_res_blocks=1), 44)}
EULER_A = with_class("EulerAncestralDiscreteScheduler")


def case(name, nets, model="a", task="text", images=("edges",), scale=(1.0,), start=(0.0,), end=(1.0,), guess=False,
         channels=4, steps=4, guidance=7.5, seed=1, scheduler=None, count=1, size=(56, 40), strength=None, mask=None,
         init="picture", crop=None, config=None):
    return dict(locals())


TEXT, IMG, INP, ADAPT = "text", "image-to-image", "inpainting", "adapter"
CASES = [
    case("one", ["edges"]),
    case("weak", ["edges"], scale=(0.45,), scheduler=with_class("DDIMScheduler")),
    case("two", ["edges", "depth"], images=("edges", "depth"), scale=(0.7, 1.3), seed=2, scheduler=EULER_A),
    case("part", ["edges"], start=(0.2,), end=(0.7,), steps=7, scheduler=with_class("EulerDiscreteScheduler")),
    case("two_parts", ["edges", "depth"], images=("edges", "depth"), scale=(0.7, 1.3), start=(0.0, 0.4), end=(0.6, 1.0),
         steps=6),
    case("guess", ["edges"], guess=True, guidance=4.0),
    case("guess_two", ["edges", "depth"], images=("edges", "depth"), scale=(0.9, 0.6), guess=True, guidance=4.0, count=2,
         seed=3, scheduler=EULER_A),
    case("guess_unguided", ["depth"], guess=True, guidance=1.0, steps=3),
    case("unguided", ["edges"], guidance=1.0, steps=3, scheduler=with_class("DDIMScheduler")),
    case("resized", ["depth"], images=("large",), size=(40, 56), steps=3, seed=5),
    case("heun", ["edges"], start=(0.3,), steps=4, scheduler=with_class("HeunDiscreteScheduler")),
    case("img2img", ["edges"], task=IMG, strength=0.6, steps=6, seed=6, scheduler=EULER_A),
    case("img2img_part", ["edges"], task=IMG, strength=0.7, steps=8, end=(0.5,), seed=7),
    case("inpaint", ["edges"], task=INP, mask="mask", steps=4, seed=8, scheduler=EULER_A),
    case("inpaint9", ["edges"], task=INP, channels=9, mask="mask", strength=0.8, steps=5, seed=9),
    case("inpaint9_guess", ["edges"], task=INP, channels=9, mask="mask", steps=3, seed=10, guess=True, guidance=3.0),
    case("inpaint_crop", ["depth"], task=INP, images=("large",), init="large", mask="large_mask", crop=6, size=(40, 40),
         strength=0.8, steps=4, seed=11, scheduler=with_class("DDIMScheduler")),
    case("sd2", ["sd2"], model=SD2, steps=4, seed=12),
    case("pool", ["sd2"], model=SD2, steps=3, seed=13, scale=(0.8,), config={"global_pool_conditions": True}),
    case("bgr", ["sd2"], model=SD2, steps=3, seed=13, config={"controlnet_conditioning_channel_order": "bgr"}),
    case("xl", ["xl"], model=XL, steps=4, seed=14, guidance=5.0),
    case("xl_guess", ["xl"], model=XL, steps=4, seed=15, guidance=5.0, guess=True, scale=(0.8,), end=(0.75,)),
    case("xl_img2img", ["xl"], model=XL, task=IMG, strength=0.6, steps=5, seed=16, guidance=5.0),
    case("adapter", ["full"], model=SD2, task=ADAPT, scale=(0.8,), seed=17, scheduler=with_class("DDIMScheduler")),
    case("adapter_images", ["full"], model=SD2, task=ADAPT, seed=18, count=2, scheduler=EULER_A),
    case("adapter_light", ["light"], model=SD2, task=ADAPT, steps=3, seed=19, scheduler=with_class("DDIMScheduler")),
    case("adapter_two", ["full", "full"], model=SD2, task=ADAPT, images=("edges", "depth"), scale=(0.6, 0.9), steps=3,
         seed=20, scheduler=EULER_A),
    case("adapter_gray", ["gray"], task=ADAPT, images=("depth",), steps=3, seed=21, guidance=1.0,
         scheduler=with_class("EulerDiscreteScheduler")),
    case("adapter_xl", ["full_xl"], model=XL, task=ADAPT, steps=4, seed=22, guidance=5.0, size=(64, 48)),
    case("adapter_xl_part", ["full_xl"], model=XL, task=ADAPT, steps=5, seed=23, guidance=5.0, size=(48, 48),
         scale=(0.7,), end=(0.6,)),
]
PIPELINES = {TEXT: StableDiffusionControlNetPipeline, IMG: StableDiffusionControlNetImg2ImgPipeline,
             INP: StableDiffusionControlNetInpaintPipeline, ADAPT: StableDiffusionAdapterPipeline}
XL_PIPELINES = {TEXT: StableDiffusionXLControlNetPipeline, IMG: StableDiffusionXLControlNetImg2ImgPipeline,
                ADAPT: StableDiffusionXLAdapterPipeline}


def write_pictures():
    edges = Image.new("RGB", (56, 40))
    draw = ImageDraw.Draw(edges)
    draw.ellipse((12, 6, 40, 32), outline="white")
    draw.line((0, 36, 56, 30), fill="white", width=2)
    edges.save(HERE / "edges.png")
    y, x = np.mgrid[0:48, 0:64]
    depth = np.stack([x * 4, y * 5, 255 - x * 2 - y], -1)
    Image.fromarray(np.clip(depth, 0, 255).astype(np.uint8)).save(HERE / "depth.png")


def control_picture(name):
    here = HERE / f"{name}.png"
    return Image.open(here if here.exists() else JOBS / f"{name}.png").convert("RGB")


def write_nets(models):
    for name, (model, seed) in NETS.items():
        net = ControlNetModel.from_unet(models[model]["unet"], conditioning_embedding_out_channels=(4, 5, 6, 8),
                                        load_weights_from_unet=False)
        randomize(net, seed, dtype=torch.float16, gains={"controlnet_down_blocks": 0.5, "controlnet_mid_block": 0.5})
        net.half().save_pretrained(HERE / name)
        (HERE / name / "diffusion_pytorch_model.safetensors").chmod(0o644)
    for name, (config, seed) in ADAPTERS.items():
        adapter = T2IAdapter(**config)
        randomize(adapter, seed, dtype=torch.float16)
        adapter.half().save_pretrained(HERE / name)
        (HERE / name / "diffusion_pytorch_model.safetensors").chmod(0o644)


def original_name(key, layers):
    """The name in the original program."""
    part, _, rest = key.partition(".")
    if part == "controlnet_mid_block":
        return f"middle_block_out.0.{rest}"
    if part == "controlnet_down_blocks":
        index, leaf = rest.split(".")
        return f"zero_convs.{index}.0.{leaf}"
    if part == "controlnet_cond_embedding":
        *module, leaf = rest.split(".")
        index = {"conv_in": 0, "conv_out": 7}[module[0]] if module[0] != "blocks" else int(module[1]) + 1
        return f"input_hint_block.{2 * index}.{leaf}"
    return unet_name(key, layers)


def write_original_names(net):
    names = {key: "control_model." + original_name(key, 1) for key in net.state_dict()}
    back = convert_controlnet_checkpoint({old: net.state_dict()[new] for new, old in names.items()}, dict(net.config))
    ours = set(names)
    assert set(back) == ours, (set(back) ^ ours)
    for key, value in net.state_dict().items():
        assert torch.equal(back[key], value), key
    (HERE / "original_names.tsv").write_text("".join(f"{new}\t{old}\n" for new, old in names.items()))


def load_net(name, config=None):
    if name in ADAPTERS:
        return T2IAdapter.from_pretrained(HERE / name, torch_dtype=torch.float32).eval().requires_grad_(False)
    net = ControlNetModel.from_pretrained(HERE / name, torch_dtype=torch.float32)
    if config:
        state = net.state_dict()
        net = ControlNetModel.from_config({**net.config, **config})
        net.load_state_dict(state)
    return net.eval().requires_grad_(False)


def run_case(parts, nets, c):
    nets = [nets[name, str(c["config"])] for name in c["nets"]]
    cls = (XL_PIPELINES if c["model"] == XL else PIPELINES)[c["task"]]
    adapts = c["task"] == ADAPT
    whole = nets[0] if len(nets) == 1 else MultiAdapter(nets) if adapts else nets
    pipe = make_pipeline(cls, parts, c, **{"adapter" if adapts else "controlnet": whole})
    trace = {}

    def after_step(_pipe, _i, _t, kwargs):
        trace[f"latents.{len(trace)}"] = kwargs["latents"].clone()
        return {}

    def one_or_all(values):
        return list(values) * (len(nets) // len(values)) if len(nets) > 1 else values[0]

    pictures = one_or_all([control_picture(name) for name in c["images"]])
    if c["nets"] == ["gray"]:
        pictures = pictures.resize(c["size"], Image.Resampling.LANCZOS).convert("L")
    width, height = c["size"]
    extra = dict(width=width, height=height)
    if c["task"] in (TEXT, ADAPT):
        extra["image"] = pictures
    else:
        extra |= dict(image=picture(c["init"]), control_image=pictures, strength=c["strength"] or 1.0)
    if c["task"] == INP:
        extra |= dict(mask_image=picture(c["mask"]), padding_mask_crop=c["crop"])
    if adapts:
        extra |= dict(adapter_conditioning_scale=one_or_all(c["scale"]), callback_steps=1,
                      callback=lambda i, t, latents: after_step(None, i, t, {"latents": latents}))
        if c["end"] != (1.0,):
            extra["adapter_conditioning_factor"] = c["end"][0]
    else:
        extra |= dict(guess_mode=c["guess"], controlnet_conditioning_scale=one_or_all(c["scale"]),
                      control_guidance_start=one_or_all(c["start"]), control_guidance_end=one_or_all(c["end"]),
                      callback_on_step_end=after_step)
    with torch.no_grad():
        pipe(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=c["steps"], guidance_scale=c["guidance"],
             generator=torch.Generator().manual_seed(c["seed"]), num_images_per_prompt=c["count"],
             output_type="pil" if c["crop"] is not None else "latent", **extra)
        final = trace[f"latents.{len(trace) - 1}"]
        return {**trace, "decoded": pipe.vae.decode(final / pipe.vae.config.scaling_factor).sample}


def arguments(c):
    args = ["--prompt", PROMPT, "--negative-prompt", NEGATIVE, "--steps", str(c["steps"]), "--guidance-scale",
            str(c["guidance"]), "--seed", str(c["seed"]), "--dtype", "fp32", "--width", str(c["size"][0]), "--height",
            str(c["size"][1])]
    for i, name in enumerate(c["images"]):
        here = (HERE / f"{name}.png").exists()
        args += ["--control-net", f"%{i}", "--control-image", f"{'@' if here else '@@'}{name}.png"]
        for option, values, default in (("scale", c["scale"], 1.0), ("start", c["start"], 0.0), ("end", c["end"], 1.0)):
            if any(v != default for v in values):
                args += [f"--control-{option}", str(values[i if len(values) > 1 else 0])]
    if c["guess"]:
        args += ["--control-guess-mode"]
    if c["task"] not in (TEXT, ADAPT):
        args += ["--init-image", f"@@{c['init']}.png"]
    for option, value in (("--mask", c["mask"] and f"@@{c['mask']}.png"), ("--strength", c["strength"]),
                          ("--padding-mask-crop", c["crop"])):
        if value is not None:
            args += [option, str(value)]
    if c["count"] != 1:
        args += ["--num-images-per-prompt", str(c["count"])]
    return args


def sd2_parts():
    pipe = StableDiffusionPipeline.from_pretrained(MODELS.parent / SD2, torch_dtype=torch.float32, local_files_only=True,
                                                   safety_checker=None, feature_extractor=None,
                                                   requires_safety_checker=False)
    parts = dict(pipe.components)
    for name in ("vae", "unet", "text_encoder"):
        parts[name].eval().requires_grad_(False)
    return parts


def write_module(name, net):
    g = torch.Generator().manual_seed(77)
    config = net.config
    inputs = {"sample": torch.randn(2, 4, 5, 7, generator=g),
              "encoder_hidden_states": torch.randn(2, 6, config.cross_attention_dim, generator=g),
              "controlnet_cond": torch.rand(1, 3, 40, 56, generator=g), "timestep": torch.tensor([37.0, 801.0])}
    added = {}
    if config.addition_embed_type:
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        added = {"text_embeds": torch.randn(2, pooled, generator=g),
                 "time_ids": torch.tensor([[40.0, 56, 0, 0, 40, 56], [80, 112, 8, 16, 40, 56]])}

    def run():
        with torch.no_grad():
            down, mid = net(inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"],
                            inputs["controlnet_cond"].expand(2, -1, -1, -1), conditioning_scale=0.8, guess_mode=True,
                            added_cond_kwargs=added, return_dict=False)
        return {**{f"out.down_block_res_samples.{i}": x for i, x in enumerate(down)}, "out.mid_block_res_sample": mid}

    want = run()
    old = jitter(net, 5)
    noise = {k: relative_l2(v, want[k]) for k, v in run().items()}
    net.load_state_dict(old)
    print(f"module {name}: jitter up to {max(noise.values()):.1e}")
    assert max(noise.values()) < 5e-6
    save_tensors(HERE / f"module_{name}.safetensors", {**{f"in.{k}": v for k, v in (inputs | added).items()}, **want})


def main():
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    HERE.mkdir(exist_ok=True)
    write_pictures()
    models = {m: sd2_parts() if m == SD2 else parts_of(m, 4) for m in ("a", SD2, XL)}
    write_nets(models)
    write_original_names(load_net("edges"))
    for name in ("edges", "xl"):
        write_module(name, load_net(name))
    index = {"bounds": BOUNDS, "cases": []}
    for model, channels in dict.fromkeys((c["model"], c["channels"]) for c in CASES):
        cases = [c for c in CASES if (c["model"], c["channels"]) == (model, channels)]
        parts = models[model] if channels == 4 else parts_of(model, channels)
        nets = {(name, str(c["config"])): load_net(name, c["config"]) for c in cases for name in c["nets"]}
        plain = {c["name"]: run_case(parts, nets, c) for c in cases}
        for name in ("vae", "unet", "text_encoder", "text_encoder_2"):
            if parts.get(name) is not None:
                jitter(parts[name], 5)
        for net in nets.values():
            jitter(net, 6)
        for c in cases:
            want, got = plain[c["name"]], run_case(parts, nets, c)
            last = f"latents.{sum(k.startswith('latents.') for k in want) - 1}"
            noise = {"latents": relative_l2(got[last], want[last]), "decoded": relative_l2(got["decoded"], want["decoded"])}
            entry = {"name": c["name"], "model": model, "channels": channels,
                     "nets": [[name, c["config"] or {}] for name in c["nets"]], "args": arguments(c),
                     "iterations": sum(k.startswith("latents.") for k in want),
                     "jitter": {k: float(f"{v:.2e}") for k, v in noise.items()}}
            if c["scheduler"]:
                entry["scheduler_config"] = c["scheduler"]
            for key, value in noise.items():
                if value > BOUNDS[key] / 10:
                    print(f"WARNING {c['name']}: jitter of {key} {value:.1e} > {BOUNDS[key] / 10:.1e}")
            keep = ("decoded", last) if c["name"] in ("one", "xl") else (last,)
            save_tensors(HERE / f"{c['name']}.safetensors", {k: v for k, v in want.items() if k in keep})
            index["cases"].append(entry)
            print(f"{c['name']:20} {entry['iterations']} iterations, jitter", noise)
    write_json(HERE / "index.json", index)


if __name__ == "__main__":
    main()
