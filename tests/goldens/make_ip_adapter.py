"""Goldens of pictures as prompts (IP-Adapter), after the makers of sd15, families, jobs and control.

    python3 tests/goldens/make_ip_adapter.py [NAME …]    # all, or these cases alone

runs diffusers' pipelines with load_ip_adapter on models of these scripts and writes tests/goldens/ip_adapter/:
  image_encoder/, image_encoder_wide/   CLIPVisionModelWithProjection, float16, of 28 and of 30 pixels (patches of 7: two
                         are left over), gelu and quick_gelu
  NAME.safetensors, NAME.bin   adapters in the published layout, float16 (.bin: torch's, nested dictionaries)
  index.json             `cases`: `model` (relative to tests/goldens; of 8 `channels`: with jobs/conv_in_8), `args` of
                         `easel generate` ("@X": a file here, "@@X": one of tests/goldens), `iterations`, `jitter` as in
                         sd15/index.json and, for tokens, the largest of an adapter; `pixels`: pictures for CLIP's
                         preprocessing; `modules`: encoders and what makes tokens by themselves, `jitter` per output
  modules.safetensors    NAME.in, and the outputs NAME.image_embeds, NAME.penultimate_states, NAME.tokens
  case_NAME.safetensors  latents.N (the last), and ip_hidden_states.i, negative_ip_hidden_states.i, as --trace has them
  pixels.safetensors     NAME_SIZE: what transformers' CLIPImageProcessor with Pillow makes of jobs/NAME.png and of the
                         pictures here
"""

import json
import sys
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import (ControlNetModel, DiffusionPipeline, StableDiffusionControlNetPipeline,
                       StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline,
                       StableDiffusionInstructPix2PixPipeline, StableDiffusionPAGPipeline, StableDiffusionPipeline,
                       StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline, UNet2DConditionModel)
from diffusers.models.embeddings import ImageProjection
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from make_jobs import conv_in, scene
from make_sd15 import NEGATIVE, PROMPT
from sd15_common import BOUNDS, generator_for, jitter, randomize, relative_l2, save_tensors, write_json

GOLDENS = Path(__file__).resolve().parent
HERE = GOLDENS / "ip_adapter"
A, SD2, XL = "sd15/a", "families/sd2", "families/xl"

# ---- encoders and adapters -----------------------------------------------------------

ENCODERS = {
    "image_encoder": dict(hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
                          image_size=28, patch_size=7, projection_dim=24, hidden_act="gelu"),
    "image_encoder_wide": dict(hidden_size=40, intermediate_size=48, num_hidden_layers=2, num_attention_heads=5,
                               image_size=30, patch_size=7, projection_dim=20, hidden_act="quick_gelu"),
}

# name: (model, kind, tokens, ending, encoder)
ADAPTERS = {
    "plain": (A, "plain", 4, "safetensors", "image_encoder"),
    "plain_wide": (A, "plain", 4, "bin", "image_encoder_wide"),
    "plus": (A, "plus", 5, "safetensors", "image_encoder"),
    "full": (A, "full", 0, "bin", "image_encoder"),
    "plus_sd2": (SD2, "plus", 3, "bin", "image_encoder"),
    "plain_xl": (XL, "plain", 4, "safetensors", "image_encoder_wide"),
    "plus_xl": (XL, "plus", 4, "safetensors", "image_encoder"),
}


def values(name, *shape, gain=1.0):
    noise = torch.randn(*shape, generator=generator_for(name, 41))
    if name.endswith(".bias"):
        out = 0.1 * noise
    elif len(shape) == 1:
        out = 1 + 0.2 * noise
    elif name.endswith("latents"):
        out = noise
    else:
        out = gain * noise / shape[-1] ** 0.5
    return out.half()


def cross_attentions(model):
    """Channels and width of the UNet's attentions to the text, in the order of its attn_processors."""
    unet = DiffusionPipeline.from_pretrained(GOLDENS / model, torch_dtype=torch.float32, local_files_only=True).unet
    names = [n[:-len(".processor")] for n in unet.attn_processors if n.endswith("attn2.processor")]
    return [tuple(unet.get_submodule(n).to_k.weight.shape) for n in names]


def make_adapter(name):
    model, kind, tokens, ending, encoder = ADAPTERS[name]
    layers = cross_attentions(model)
    width = layers[0][1]
    config = ENCODERS[encoder]
    proj = {}

    def add(key, *shape, gain=1.0):
        proj[key] = values(f"{name}.{key}", *shape, gain=gain)

    def norm(key, size):
        add(key + ".weight", size)
        add(key + ".bias", size)

    if kind == "plain":
        add("proj.weight", tokens * width, config["projection_dim"])
        add("proj.bias", tokens * width)
        norm("norm", width)
    elif kind == "full":
        inner = config["hidden_size"]
        add("proj.0.weight", inner, inner)
        add("proj.0.bias", inner)
        add("proj.2.weight", width, inner)
        add("proj.2.bias", width)
        norm("proj.3", width)
    else:
        hidden, heads = 16, 2
        add("latents", 1, tokens, hidden)
        add("proj_in.weight", hidden, config["hidden_size"])
        add("proj_in.bias", hidden)
        add("proj_out.weight", width, hidden)
        add("proj_out.bias", width)
        norm("norm_out", width)
        for i in range(4):  # diffusers knows no other depth
            norm(f"layers.{i}.0.norm1", hidden)
            norm(f"layers.{i}.0.norm2", hidden)
            add(f"layers.{i}.0.to_q.weight", 64 * heads, hidden)
            add(f"layers.{i}.0.to_kv.weight", 128 * heads, hidden)
            add(f"layers.{i}.0.to_out.weight", hidden, 64 * heads, gain=0.5)
            norm(f"layers.{i}.1.0", hidden)
            add(f"layers.{i}.1.1.weight", 4 * hidden, hidden)
            add(f"layers.{i}.1.3.weight", hidden, 4 * hidden, gain=0.5)
    matrices = {}
    for i, (channels, _) in enumerate(layers):
        for part in ("to_k_ip", "to_v_ip"):
            key = f"{2 * i + 1}.{part}.weight"
            matrices[key] = values(f"{name}.{key}", channels, width)
    path = HERE / f"{name}.{ending}"
    if ending == "bin":
        torch.save({"image_proj": proj, "ip_adapter": matrices}, path)
    else:
        save_file({f"image_proj.{k}": v for k, v in proj.items()} | {f"ip_adapter.{k}": v for k, v in matrices.items()},
                  str(path))
    path.chmod(0o644)


def make_encoder(name):
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**ENCODERS[name]))
    randomize(model, 51, torch.float16, gains={"fc2": 0.5, "out_proj": 0.5})  # keeps the jitter of its states small
    with torch.no_grad():
        model.vision_model.embeddings.class_embedding.copy_(
            (0.5 * torch.randn(ENCODERS[name]["hidden_size"], generator=generator_for(name, 3))).half().float())
    model.half().save_pretrained(HERE / name)
    for file in (HERE / name).iterdir():
        file.chmod(0o644)


# ---- cases ---------------------------------------------------------------------------

PICTURE, LARGE, MASK = "@@jobs/picture.png", "@@jobs/large.png", "@@jobs/mask.png"
TEXT, IMG, INP = StableDiffusionPipeline, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
PAG, IP2P = StableDiffusionPAGPipeline, StableDiffusionInstructPix2PixPipeline
CONTROL, EDGES = StableDiffusionControlNetPipeline, "@@control/edges.png"


def case(name, adapters, images, scales=None, blocks=None, model=A, pipeline=TEXT, guidance=5.0, steps=3, seed=1,
         count=1, size=(40, 32), extra=None, options=()):
    return dict(locals())


STYLE = {"up": {"block_1": [0.0, 1.0]}}
LAYOUT = {"down": 0.7, "mid": 0.5, "up": {"block_1": [0.3, 0.0]}}
CASES = [
    case("plain", ["plain"], [[PICTURE]]),
    case("plain_half", ["plain"], [[LARGE]], [0.45], count=2, seed=2),
    case("plain_unguided", ["plain"], [[PICTURE]], guidance=1.0),
    case("plain_two_pictures", ["plain"], [[PICTURE, LARGE]], [0.8]),
    case("plain_wide", ["plain_wide"], [["@ribbon.png"]], [1.2]),
    case("plain_style", ["plain"], [[PICTURE]], blocks=[(STYLE, "up.block_1.1=1")]),
    case("plus", ["plus"], [[PICTURE]], guidance=3.0),
    case("plus_two_pictures", ["plus"], [["@ribbon.png", PICTURE]], [0.6]),
    case("plus_blocks", ["plus"], [[LARGE]], blocks=[(LAYOUT, "down=0.7,mid=0.5,up_blocks.1.attentions.0=0.3")]),
    case("full", ["full"], [[PICTURE]], [0.7]),
    case("two_adapters", ["plain", "plus"], [[PICTURE], [LARGE]], [0.5, 0.9], guidance=3.0),
    case("two_adapters_blocks", ["plus", "plain"], [[PICTURE, LARGE], [PICTURE]],
         blocks=[(STYLE, "up.block_1.1=1"), (LAYOUT, "down=0.7,mid=0.5,up.block_1.0=0.3")]),
    case("img2img", ["plus"], [[PICTURE]], pipeline=IMG, size=None, steps=5,
         extra=dict(image=PICTURE, strength=0.6), options=["--init-image", PICTURE, "--strength", "0.6"]),
    case("inpaint", ["plain"], [[LARGE]], pipeline=INP, size=None, steps=4,
         extra=dict(image=PICTURE, mask_image=MASK, strength=0.9),
         options=["--init-image", PICTURE, "--mask", MASK, "--strength", "0.9"]),
    case("pag", ["plus"], [[PICTURE]], [0.8], pipeline=PAG, guidance=3.0, extra=dict(pag_scale=2.0), options=["--pag-scale", "2"]),
    case("ip2p", ["plain"], [[LARGE]], pipeline=IP2P, size=None, steps=4, extra=dict(image=PICTURE),
         options=["--init-image", PICTURE]),
    case("control_net", ["plus"], [[PICTURE]], [0.7], pipeline=CONTROL, size=(56, 40), guidance=3.0,
         extra=dict(image=EDGES), options=["--control-net", "@@control/edges", "--control-image", EDGES]),
    case("sd2", ["plus_sd2"], [[PICTURE]], model=SD2, size=(32, 24)),
    case("xl", ["plain_xl"], [[PICTURE]], model=XL, pipeline=StableDiffusionXLPipeline, size=(32, 24), guidance=3.0),
    case("xl_plus", ["plus_xl"], [[LARGE]], [0.7], model=XL, pipeline=StableDiffusionXLPipeline, size=(32, 24),
         guidance=3.0),
    case("xl_style", ["plus_xl"], [[LARGE]], blocks=[({"up": {"block_0": [0.0, 1.0]}}, "up.block_0.1=1")], model=XL,
         pipeline=StableDiffusionXLPipeline, size=(32, 24), guidance=3.0),
    case("xl_img2img", ["plain_xl"], [[LARGE, PICTURE]], [0.6], model=XL, pipeline=StableDiffusionXLImg2ImgPipeline,
         size=None, steps=4, guidance=3.0, extra=dict(image=PICTURE, strength=0.7),
         options=["--init-image", PICTURE, "--strength", "0.7"]),
]


def open_picture(name):
    return Image.open(GOLDENS / name[2:] if name.startswith("@@") else HERE / name[1:]).convert("RGB")


def encoder_of(c):
    names = {ADAPTERS[a][4] for a in c["adapters"]}
    assert len(names) == 1, "diffusers has one image encoder"
    return names.pop()


def run_case(c, seed=None):
    """latents and tokens; with `seed`, of jittered weights."""
    encoder = CLIPVisionModelWithProjection.from_pretrained(HERE / encoder_of(c), dtype=torch.float32).eval()
    side = ENCODERS[encoder_of(c)]["image_size"]
    parts = DiffusionPipeline.from_pretrained(GOLDENS / c["model"], torch_dtype=torch.float32,
                                              local_files_only=True).components
    if c["model"] != XL:
        parts.update(safety_checker=None, requires_safety_checker=False)
    parts.update(image_encoder=encoder,
                 feature_extractor=CLIPImageProcessorPil(size={"shortest_edge": side},
                                                         crop_size={"height": side, "width": side}))
    if c["pipeline"] is IP2P:
        config = dict(parts["unet"].config)
        config["in_channels"] = 8
        state = parts["unet"].state_dict() | {"conv_in.weight": conv_in(8)}
        parts["unet"] = UNet2DConditionModel.from_config(config)
        parts["unet"].load_state_dict(state)
    if c["pipeline"] is CONTROL:
        parts["controlnet"] = ControlNetModel.from_pretrained(GOLDENS / "control" / "edges", torch_dtype=torch.float32)
    if c["pipeline"] is PAG:
        parts.update(pag_applied_layers=["mid"])
    pipe = c["pipeline"](**parts)
    pipe.set_progress_bar_config(disable=True)
    files = [f"{a}.{ADAPTERS[a][3]}" for a in c["adapters"]]
    pipe.load_ip_adapter(str(HERE), subfolder=[""] * len(files), weight_name=files, image_encoder_folder=None,
                         low_cpu_mem_usage=False)
    scales = c["scales"] or [1.0] * len(files)
    pipe.set_ip_adapter_scale([b[0] for b in c["blocks"]] if c["blocks"] else scales)
    for name in ("vae", "unet", "text_encoder", "text_encoder_2", "image_encoder", "controlnet"):
        part = getattr(pipe, name, None)
        if part is not None:
            part.float().eval().requires_grad_(False)
            if seed is not None:
                jitter(part, seed)
    result = {}
    steps = []

    def after_step(_pipe, _i, _t, kwargs):
        steps.append(kwargs["latents"].clone())
        return {}

    images = [[open_picture(p) for p in own] for own in c["images"]]
    with torch.no_grad():
        for i, (own, layer) in enumerate(zip(images, pipe.unet.encoder_hid_proj.image_projection_layers)):
            states = not isinstance(layer, ImageProjection)
            for prefix, features in zip(("", "negative_"), pipe.encode_image(own, "cpu", 1, states)):
                result[f"{prefix}ip_hidden_states.{i}"] = layer(features).flatten(0, 1)[None]
        extra = {k: open_picture(v) if isinstance(v, str) else v for k, v in (c["extra"] or {}).items()}
        if c["size"]:
            extra.update(width=c["size"][0], height=c["size"][1])
        elif c["pipeline"] is INP:
            extra.update(width=56, height=40)
        pipe(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=c["steps"], guidance_scale=c["guidance"],
             generator=torch.Generator().manual_seed(c["seed"]), num_images_per_prompt=c["count"], output_type="latent",
             ip_adapter_image=images, callback_on_step_end=after_step, **extra)
    if c["guidance"] <= 1:
        result = {k: v for k, v in result.items() if not k.startswith("negative")}
    result[f"latents.{len(steps) - 1}"] = steps[-1]
    return result


def arguments(c):
    args = ["--prompt", PROMPT, "--negative-prompt", NEGATIVE, "--steps", str(c["steps"]), "--guidance-scale",
            str(c["guidance"]), "--seed", str(c["seed"]), "--dtype", "fp32", *c["options"]]
    for i, (adapter, images) in enumerate(zip(c["adapters"], c["images"])):
        scale = f":{c['scales'][i]}" if c["scales"] else ""
        args += ["--ip-adapter", f"@{adapter}.{ADAPTERS[adapter][3]}{scale}", "--ip-adapter-image", ",".join(images)]
    if encoder_of(c) != "image_encoder":  # that one is found beside the adapter
        args += ["--image-encoder", f"@{encoder_of(c)}"]
    for _, text in c["blocks"] or []:
        args += ["--ip-adapter-blocks", text]
    if c["size"]:
        args += ["--width", str(c["size"][0]), "--height", str(c["size"][1])]
    if c["count"] != 1:
        args += ["--num-images-per-prompt", str(c["count"])]
    return args


# ---- preprocessing -------------------------------------------------------------------


def fnv(data):
    out = 0xCBF29CE484222325
    for byte in data:
        out = (out ^ byte) * 0x100000001B3 % 2**64
    return f"{out:016x}"


def make_pixels():
    """Whole for small sizes; a hash of the float32 bytes for the published ones."""
    cases, tensors = [], {}
    for picture, sizes in (("@@jobs/picture.png", (28, 30, 224)), ("@@jobs/large.png", (28, 37, 224, 336)),
                           ("@ribbon.png", (28, 224)), ("@tower.png", (29, 224)), ("@dot.png", (28, 224))):
        for size in sizes:
            process = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
            pixels = process(open_picture(picture), return_tensors="pt").pixel_values.float()
            entry = {"picture": picture, "size": size}
            if size < 100:
                entry["tensor"] = f"{picture.split('/')[-1].strip('@')}_{size}"
                tensors[entry["tensor"]] = pixels
            else:
                entry["fnv1a"] = fnv(pixels.numpy().tobytes())
            cases.append(entry)
    save_tensors(HERE / "pixels.safetensors", tensors)
    return cases


# ---- modules by themselves -----------------------------------------------------------


def module_outputs(seed):
    """(inputs, outputs) of every encoder and adapter; with `seed`, of jittered weights."""
    inputs, outputs = {}, {}
    with torch.no_grad():
        for name, config in ENCODERS.items():
            model = CLIPVisionModelWithProjection.from_pretrained(HERE / name, dtype=torch.float32).eval()
            if seed is not None:
                jitter(model, seed)
            side = config["image_size"]
            x = inputs[f"{name}.in"] = torch.randn(1, 3, side, side, generator=generator_for(name, 61))
            out = model(x, output_hidden_states=True)
            outputs[f"{name}.image_embeds"] = out.image_embeds
            outputs[f"{name}.penultimate_states"] = out.hidden_states[-2]
        unet = DiffusionPipeline.from_pretrained(GOLDENS / A, torch_dtype=torch.float32, local_files_only=True).unet
        for name in ("plain_wide", "plus", "full"):
            _, kind, _, ending, encoder = ADAPTERS[name]
            path = HERE / f"{name}.{ending}"
            if ending == "bin":
                proj = torch.load(path, weights_only=True)["image_proj"]
            else:
                prefix = "image_proj."
                proj = {k[len(prefix):]: v for k, v in load_file(path).items() if k.startswith(prefix)}
            layer = unet._convert_ip_adapter_image_proj_to_diffusers({k: v.float() for k, v in proj.items()},
                                                                     low_cpu_mem_usage=False).eval()
            if seed is not None:
                jitter(layer, seed)
            config = ENCODERS[encoder]
            shape = (1, config["projection_dim"]) if kind == "plain" else (1, 17, config["hidden_size"])
            x = inputs[f"{name}.in"] = torch.randn(*shape, generator=generator_for(name, 62))
            outputs[f"{name}.tokens"] = layer(x)
    return inputs, outputs


def make_modules():
    inputs, want = module_outputs(None)
    got = module_outputs(7)[1]
    save_tensors(HERE / "modules.safetensors", inputs | want)
    return {k: float(f"{relative_l2(got[k], want[k]):.2e}") for k in want}


def main():
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    HERE.mkdir(exist_ok=True)
    if sys.argv[1:]:
        index = json.loads((HERE / "index.json").read_text())
    else:
        scene(71, 19, 5).save(HERE / "ribbon.png")
        scene(23, 97, 6).save(HERE / "tower.png")
        scene(3, 2, 7).save(HERE / "dot.png")
        for name in ENCODERS:
            make_encoder(name)
        for name in ADAPTERS:
            make_adapter(name)
        index = {"bounds": BOUNDS, "pixels": make_pixels(), "modules": make_modules(), "cases": []}
    known = {entry["name"]: entry for entry in index["cases"]}
    for c in CASES:
        if sys.argv[1:] and c["name"] not in sys.argv[1:]:
            continue
        want, got = run_case(c), run_case(c, seed=7)
        errors = {k: relative_l2(got[k], want[k]) for k in want}
        last = next(k for k in want if k.startswith("latents."))
        noise = {"latents": errors[last], "tokens": max(v for k, v in errors.items() if "ip_hidden" in k)}
        for key, bound in (("latents", BOUNDS["latents"]), ("tokens", BOUNDS["prompt_embeds"])):
            if noise[key] > bound / 10:
                print(f"WARNING {c['name']}: jitter of {key} {noise[key]:.1e} > {bound / 10:.1e}")
        known[c["name"]] = {"name": c["name"], "model": c["model"], "channels": 8 if c["pipeline"] is IP2P else 4,
                            "args": arguments(c), "iterations": int(last[8:]) + 1,
                            "jitter": {k: float(f"{v:.2e}") for k, v in noise.items()}}
        save_tensors(HERE / f"case_{c['name']}.safetensors", want)
        print(f"{c['name']:24} {int(last[8:]) + 1} iterations, jitter", noise)
    write_json(HERE / "index.json", index | {"cases": [known[c["name"]] for c in CASES]})


if __name__ == "__main__":
    main()
