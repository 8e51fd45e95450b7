"""Goldens of what begins from a picture: image-to-image, inpainting, InstructPix2Pix, the high-resolution fix.

    python3 tests/goldens/make_jobs.py [NAME …]     # all cases, or these alone

runs diffusers' pipelines on the models of make_sd15.py (weights from the folders) and writes tests/goldens/jobs/:
  NAME.png               pictures and masks
  conv_in_N.safetensors  the first convolution of a UNet of N input channels; all else is model a's
  index.json             the cases: `model`, `channels`, `args` of `easel generate` (files as "@NAME", models as "@@FOLDER"),
                         `scheduler_config` (replaces the folder's), `initial_latents`, `iterations`, and `jitter` as in
                         sd15/index.json
  NAME.safetensors       what each case expects: latents.0 …, decoded, and `picture` [N, H, W, 3] U8 where diffusers
                         lays the result over the picture
"""

import json
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from diffusers import (DiffusionPipeline, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline,
                       StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline,
                       StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline, StableDiffusionXLPipeline,
                       UNet2DConditionModel)
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from make_sd15 import DPM, EULER, NEGATIVE, PROMPT, with_class
from sd15_common import BOUNDS, HERE as MODELS, generator_for, jitter, relative_l2, save_tensors, write_json

HERE = Path(__file__).resolve().parent / "jobs"


def case(name, task, model="a", channels=4, picture="picture", mask=None, strength=None, steps=5, guidance=7.5,
         image_guidance=None, seed=1, scheduler=None, images=1, size=None, crop=None, given_latents=False, eta=None,
         keep_decoded=False, upscaler=None, refiner=None):
    return dict(locals())


IMG, INP, IP2P, HIRES = "image-to-image", "inpainting", "instructions", "high-resolution fix"
HANDOVER = "hand-over"
XL, XL_REFINER = "families/xl", "families/refiner"
CASES = [
    case("img2img_pndm", IMG, steps=6, keep_decoded=True),
    case("img2img_weak", IMG, strength=0.3, steps=7, scheduler=with_class("DDIMScheduler")),
    case("img2img_full", IMG, strength=1.0, steps=4, scheduler=with_class(EULER)),
    case("img2img_ancestral_two", IMG, strength=0.6, seed=3, images=2,
         scheduler=with_class("EulerAncestralDiscreteScheduler")),
    case("img2img_dpm_karras", IMG, strength=0.75, scheduler=with_class(DPM, use_karras_sigmas=True), steps=8),
    case("img2img_dpm_sde", IMG, strength=0.5, seed=4, scheduler=with_class(DPM, algorithm_type="sde-dpmsolver++")),
    case("img2img_heun", IMG, strength=0.6, scheduler=with_class("HeunDiscreteScheduler")),
    case("img2img_dpm_2", IMG, strength=0.6, scheduler=with_class("KDPM2DiscreteScheduler")),
    case("img2img_ddpm", IMG, strength=0.5, seed=5, scheduler=with_class("DDPMScheduler"), steps=6),
    case("img2img_lcm", IMG, strength=0.5, seed=6, scheduler=with_class("LCMScheduler"), guidance=1.0, steps=6),
    case("img2img_resized", IMG, picture="large", strength=0.7, steps=4, keep_decoded=True),
    case("img2img_v", IMG, model="b", strength=0.7, steps=5),
    case("inpaint_pndm", INP, mask="mask", steps=4, keep_decoded=True),
    case("inpaint_weak_ancestral", INP, mask="mask", strength=0.6, seed=7, steps=6,
         scheduler=with_class("EulerAncestralDiscreteScheduler")),
    case("inpaint_two_ddim_eta", INP, mask="soft", strength=0.8, seed=8, images=2, eta=0.7,
         scheduler=with_class("DDIMScheduler")),
    case("inpaint_given_latents", INP, mask="mask", given_latents=True, seed=9, steps=4,
         scheduler=with_class("EulerAncestralDiscreteScheduler")),
    case("inpaint_dpm", INP, mask="mask", strength=0.9, steps=6, scheduler=with_class(DPM)),
    case("inpaint_heun", INP, mask="mask", strength=0.7, steps=5, scheduler=with_class("HeunDiscreteScheduler")),
    case("inpaint_size", INP, picture="large", mask="large_mask", size=(48, 64), steps=4, keep_decoded=True),
    case("inpaint_crop", INP, picture="large", mask="large_mask", crop=6, size=(40, 40), strength=0.8, steps=4,
         scheduler=with_class("DDIMScheduler"), keep_decoded=True),
    case("inpaint_crop_wide", INP, picture="large", mask="large_mask", crop=0, size=(72, 24), steps=3,
         scheduler=with_class(EULER), keep_decoded=True),
    case("inpaint9_pndm", INP, channels=9, mask="mask", steps=4, keep_decoded=True),
    case("inpaint9_weak_ancestral", INP, channels=9, mask="mask", strength=0.6, seed=10, images=2,
         scheduler=with_class("EulerAncestralDiscreteScheduler")),
    case("inpaint9_unguided", INP, channels=9, mask="soft", guidance=1.0, steps=3, scheduler=with_class("DDIMScheduler")),
    case("hires_latent", HIRES, size=(40, 32), upscaler="latent", strength=0.6, scheduler=with_class("DDIMScheduler")),
    case("hires_nearest", HIRES, size=(40, 32), upscaler="latent_nearest", strength=0.7, images=2, seed=3,
         scheduler=with_class("EulerAncestralDiscreteScheduler")),
    case("ip2p", IP2P, channels=8, steps=4, keep_decoded=True),
    case("ip2p_strict_two", IP2P, channels=8, steps=4, image_guidance=2.5, guidance=4.0, seed=11, images=2,
         scheduler=with_class("EulerAncestralDiscreteScheduler")),
    case("xl_img2img", IMG, model=XL, strength=0.6, steps=5, guidance=5.0),
    case("xl_inpaint", INP, model=XL, mask="mask", strength=0.7, steps=5, guidance=2.0, seed=6,
         scheduler=with_class("EulerAncestralDiscreteScheduler")),
    case("xl_refiner", HANDOVER, model=XL, refiner=XL_REFINER, size=(40, 32), strength=0.6, steps=8, guidance=5.0, seed=3),
    case("xl_refiner_ancestral", HANDOVER, model=XL, refiner=XL_REFINER, size=(40, 32), strength=0.5, steps=6, seed=4,
         guidance=2.0, scheduler=with_class("EulerAncestralDiscreteScheduler")),
    case("ip2p_unguided", IP2P, channels=8, steps=3, image_guidance=0.5, scheduler=with_class(EULER)),
]


# ---- pictures ------------------------------------------------------------------------


def scene(width, height, seed):
    y, x = np.mgrid[0:height, 0:width] / 8.0
    rgb = np.stack([np.sin(x) + y / 6, np.cos(y + seed) * np.sin(x / 2), np.cos(x * y / 5)], -1) * 90 + 128
    return Image.fromarray(np.clip(rgb + np.random.default_rng(seed).normal(0, 8, rgb.shape), 0, 255).astype(np.uint8))


def write_pictures():
    scene(56, 40, 1).save(HERE / "picture.png")
    scene(93, 67, 2).save(HERE / "large.png")
    mask = Image.new("L", (56, 40))
    ImageDraw.Draw(mask).ellipse((10, 6, 38, 30), fill=255)
    mask.save(HERE / "mask.png")
    gray = np.linspace(0, 255, 56)[None, :].repeat(40, 0).astype(np.uint8)
    Image.fromarray(gray).save(HERE / "soft.png")
    mask = Image.new("L", (93, 67))
    ImageDraw.Draw(mask).rectangle((50, 20, 71, 48), fill=255)
    mask.save(HERE / "large_mask.png")


def picture(name):
    return Image.open(HERE / f"{name}.png").convert("RGB")


# ---- models --------------------------------------------------------------------------


def conv_in(channels):
    """N(0, 1/fan_in) as in sd15_common.randomize, for a first convolution of other width."""
    out = torch.randn(24, channels, 3, 3, generator=generator_for(f"conv_in_{channels}", 21))
    return out / (channels * 9) ** 0.5


def xl_parts(model):
    """The components of a family's folder, all in float32."""
    parts = DiffusionPipeline.from_pretrained(MODELS.parent / model, torch_dtype=torch.float32,
                                              local_files_only=True).components
    for name in ("vae", "unet", "text_encoder", "text_encoder_2"):
        if parts.get(name) is not None:
            parts[name].eval().requires_grad_(False).float()
    return parts


def parts_of(model, channels):
    if model == XL:
        return {**xl_parts(model), "refiner": xl_parts(XL_REFINER)}
    pipe = StableDiffusionPipeline.from_pretrained(MODELS / model, dtype=torch.float32, local_files_only=True)
    parts = dict(vae=pipe.vae, unet=pipe.unet, text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer,
                 scheduler=pipe.scheduler, safety_checker=None, feature_extractor=None,
                 requires_safety_checker=False)
    if channels != 4:
        config = dict(pipe.unet.config)
        config["in_channels"] = channels
        state = pipe.unet.state_dict() | {"conv_in.weight": conv_in(channels)}
        parts["unet"] = UNet2DConditionModel.from_config(config)
        parts["unet"].load_state_dict(state)
        save_file({"conv_in.weight": conv_in(channels)}, str(HERE / f"conv_in_{channels}.safetensors"))
    for name in ("vae", "unet", "text_encoder"):
        parts[name].eval().requires_grad_(False)
    return parts


SCALE = 1.4  # of the second pass: 40×32 → 56×48 (44.8 rounds up)


def first_pass(parts, c):
    """What the second pass of the high-resolution fix begins from, [N, 4, h, w]."""
    pipe = make_pipeline(StableDiffusionPipeline, parts, c)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = getattr(diffusers, c["scheduler"]["_class_name"]).from_config(c["scheduler"])
    width, height = c["size"]
    with torch.no_grad():
        out = pipe(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=c["steps"], width=width, height=height,
                   guidance_scale=c["guidance"], generator=torch.Generator().manual_seed(c["seed"]),
                   num_images_per_prompt=c["images"], output_type="latent").images
    larger = [round(side * SCALE / 8) for side in (width, height)]
    mode = {"latent": "bilinear", "latent_nearest": "nearest-exact"}[c["upscaler"]]
    return torch.nn.functional.interpolate(out, size=larger[::-1], mode=mode)


PIPELINES = {HIRES: StableDiffusionImg2ImgPipeline, IMG: StableDiffusionImg2ImgPipeline,
             INP: StableDiffusionInpaintPipeline, IP2P: StableDiffusionInstructPix2PixPipeline}


XL_PIPELINES = {IMG: StableDiffusionXLImg2ImgPipeline, INP: StableDiffusionXLInpaintPipeline,
                HANDOVER: StableDiffusionXLImg2ImgPipeline}


def make_pipeline(cls, parts, c, **more):
    wanted = set(cls.__init__.__code__.co_varnames)
    pipe = cls(**{k: v for k, v in (parts | more).items() if k in wanted})
    pipe.set_progress_bar_config(disable=True)
    if c["scheduler"]:
        pipe.scheduler = getattr(diffusers, c["scheduler"]["_class_name"]).from_config(c["scheduler"])
    return pipe


def handed_over(parts, c):
    """What the first model leaves of the noise, and the pipeline of the second."""
    base = make_pipeline(StableDiffusionXLPipeline, parts, c)
    with torch.no_grad():
        latents = base(prompt=PROMPT, negative_prompt=NEGATIVE, num_inference_steps=c["steps"], width=c["size"][0],
                       height=c["size"][1], guidance_scale=c["guidance"], denoising_end=c["strength"],
                       generator=torch.Generator().manual_seed(c["seed"]), output_type="latent").images
    return latents, make_pipeline(StableDiffusionXLImg2ImgPipeline, parts["refiner"], c, requires_aesthetics_score=True)


def run_case(parts, c):
    image = first_pass(parts, c) if c["task"] == HIRES else picture(c["picture"])
    if c["task"] == HANDOVER:
        image, pipe = handed_over(parts, c)
    else:
        pipe = make_pipeline((XL_PIPELINES if c["model"] == XL else PIPELINES)[c["task"]], parts, c)
    trace, extra = {}, {}

    def after_step(_pipe, _i, _t, kwargs):
        trace[f"latents.{len(trace)}"] = kwargs["latents"].clone()
        return {}

    latents = None
    if c["task"] == HANDOVER:
        extra = dict(denoising_start=c["strength"])
    elif c["task"] == IP2P:
        extra = dict(image_guidance_scale=c["image_guidance"] or 1.5)
    else:
        default = 1.0 if c["task"] == INP else 0.8
        extra = dict(strength=c["strength"] or default, eta=c["eta"] or 0.0)
    if c["task"] == INP:
        width, height = c["size"] or image.size
        extra |= dict(mask_image=picture(c["mask"]), width=width, height=height, padding_mask_crop=c["crop"])
        if c["given_latents"]:
            latents = torch.randn(c["images"], 4, height // 8, width // 8, generator=torch.Generator().manual_seed(99))
            extra["latents"] = latents
    with torch.no_grad():
        out = pipe(prompt=PROMPT, negative_prompt=NEGATIVE, image=image, num_inference_steps=c["steps"],
                   guidance_scale=c["guidance"], generator=torch.Generator().manual_seed(c["seed"]),
                   num_images_per_prompt=c["images"], output_type="pil" if c["crop"] is not None else "latent",
                   callback_on_step_end=after_step, **extra).images
        final = trace[f"latents.{len(trace) - 1}"]
        result = {**trace, "decoded": pipe.vae.decode(final / pipe.vae.config.scaling_factor).sample}
    if c["crop"] is not None:
        result["picture"] = torch.from_numpy(np.stack([np.asarray(image) for image in out]).copy())
    return latents, result


def arguments(c):
    args = ["--prompt", PROMPT, "--negative-prompt", NEGATIVE, "--steps", str(c["steps"]), "--guidance-scale",
            str(c["guidance"]), "--seed", str(c["seed"]), "--dtype", "fp32"]
    if c["task"] == HIRES:
        args += ["--hires-scale", str(SCALE), "--hires-upscaler", c["upscaler"], "--hires-strength", str(c["strength"])]
        c = {**c, "strength": None}
    elif c["task"] == HANDOVER:
        args += ["--refiner", f"@@{c['refiner']}", "--refiner-start", str(c["strength"])]
        c = {**c, "strength": None}
    else:
        args += ["--init-image", f"@{c['picture']}.png"]
    for option, value in (("--mask", c["mask"] and f"@{c['mask']}.png"), ("--strength", c["strength"]),
                          ("--image-guidance-scale", c["image_guidance"]), ("--padding-mask-crop", c["crop"]),
                          ("--eta", c["eta"])):
        if value is not None:
            args += [option, str(value)]
    if c["size"]:
        args += ["--width", str(c["size"][0]), "--height", str(c["size"][1])]
    if c["images"] != 1:
        args += ["--num-images-per-prompt", str(c["images"])]
    return args


def main():
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    HERE.mkdir(exist_ok=True)
    write_pictures()
    wanted = [c for c in CASES if not sys.argv[1:] or c["name"] in sys.argv[1:]]
    entries = {e["name"]: e for e in json.loads((HERE / "index.json").read_text())["cases"]} if sys.argv[1:] else {}
    for model, channels in dict.fromkeys((c["model"], c["channels"]) for c in wanted):
        cases = [c for c in wanted if (c["model"], c["channels"]) == (model, channels)]
        parts = parts_of(model, channels)
        plain = {c["name"]: run_case(parts, c) for c in cases}
        for part in (parts, parts.get("refiner", {})):
            for name in ("vae", "unet", "text_encoder", "text_encoder_2"):
                if part.get(name) is not None:
                    jitter(part[name], 5)
        for c in cases:
            latents, want = plain[c["name"]]
            got = run_case(parts, c)[1]
            last = f"latents.{sum(k.startswith('latents.') for k in want) - 1}"
            noise = {"latents": relative_l2(got[last], want[last]), "decoded": relative_l2(got["decoded"], want["decoded"])}
            entry = {"name": c["name"], "model": model, "channels": channels, "args": arguments(c),
                     "iterations": sum(k.startswith("latents.") for k in want),
                     "jitter": {k: float(f"{v:.2e}") for k, v in noise.items()}}
            if c["scheduler"]:
                entry["scheduler_config"] = c["scheduler"]
            if latents is not None:
                entry["initial_latents"] = f"{c['name']}_latents.safetensors"
                save_tensors(HERE / entry["initial_latents"], {"latents": latents})
            for key, value in noise.items():
                if value > BOUNDS[key] / 10:
                    print(f"WARNING {c['name']}: jitter of {key} {value:.1e} > {BOUNDS[key] / 10:.1e}")
            kept = {k: v for k, v in want.items() if k != "decoded" or c["keep_decoded"]}
            save_tensors(HERE / f"{c['name']}.safetensors", kept)
            entries[c["name"]] = entry
            print(f"{c['name']:28} {entry['iterations']} iterations, jitter", noise)
    write_json(HERE / "index.json", {"bounds": BOUNDS, "cases": list(entries.values())})


if __name__ == "__main__":
    main()
