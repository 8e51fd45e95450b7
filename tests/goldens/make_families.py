"""Makes the tiny models and picture goldens of Stable Diffusion 2, SDXL and their kin, into tests/goldens/families/.

    python3 tests/goldens/make_families.py            # everything
    python3 tests/goldens/make_families.py --only xl  # one model and its cases

Run by developers only, with torch (CPU), diffusers, transformers and safetensors; see README.md.
Weights are float8 (e4m3) numbers, stored as such, and computed with in float32.
"""

import argparse
import json
import shutil

import diffusers
import torch
import transformers
from diffusers import (AutoencoderKL, LatentConsistencyModelPipeline, StableDiffusionPipeline,
                       StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline, UNet2DConditionModel)
from safetensors.torch import load_file
from transformers import (CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection,
                          CLIPTokenizer)

import sd15_common
from sd15_common import BOUNDS, jitter, randomize, relative_l2, save_tensors, write_json, write_tokenizer
from make_sd15 import GAINS, LONG, SAMPLERS

HERE = sd15_common.HERE.parent / "families"
FP8 = torch.float8_e4m3fn

# ---- Schedulers, as published ----------------------------------------------------------

BASE = {"beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False,
        "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1}
PNDM = {"_class_name": "PNDMScheduler", **BASE, "prediction_type": "epsilon"}
DDIM_V = {"_class_name": "DDIMScheduler", **BASE, "prediction_type": "v_prediction"}
EULER = {"_class_name": "EulerDiscreteScheduler", **BASE, "interpolation_type": "linear",
         "prediction_type": "epsilon", "sample_max_value": 1.0, "timestep_spacing": "leading",
         "use_karras_sigmas": False}
TURBO = {"_class_name": "EulerAncestralDiscreteScheduler", **BASE, "prediction_type": "epsilon",
         "timestep_spacing": "trailing"}
LIGHTNING = {**EULER, "timestep_spacing": "trailing"}
LIGHTNING_1 = {**LIGHTNING, "prediction_type": "sample"}
LCM = {"_class_name": "LCMScheduler", **BASE, "original_inference_steps": 50, "timestep_scaling": 10.0,
       "prediction_type": "epsilon", "timestep_spacing": "leading"}

# ---- Models ------------------------------------------------------------------------------

CROSS_DOWN, DOWN, CROSS_UP, UP = "CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"
CLIP_L = dict(hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=3,
              hidden_act="quick_gelu", eos_token_id=2, projection_dim=24)
CLIP_H = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
              hidden_act="gelu", eos_token_id=2, projection_dim=32)
CLIP_G = dict(hidden_size=40, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2,
              hidden_act="gelu", eos_token_id=605, projection_dim=20)
VAE = dict(block_out_channels=(4, 4, 8, 8), layers_per_block=1, norm_num_groups=2)
XL_ADDED = dict(addition_embed_type="text_time", addition_time_embed_dim=8, cross_attention_dim=64,
                projection_class_embeddings_input_dim=20 + 6 * 8)

MODELS = {
    # Stable Diffusion 2: heads per level, linear projections, gelu, "!" as padding.
    "sd2": dict(
        seed=21, kind="sd", scheduler=PNDM, text=CLIP_H, scaling=0.18215,
        unet=dict(sample_size=8, block_out_channels=(8, 16), layers_per_block=1, attention_head_dim=[1, 4],
                  down_block_types=(CROSS_DOWN, DOWN), up_block_types=(UP, CROSS_UP), norm_num_groups=4,
                  use_linear_projection=True, cross_attention_dim=32)),
    # SDXL: no attention at the first level, depths and heads per level, two text encoders, pooled text and sizes.
    "xl": dict(
        seed=22, kind="xl", scheduler=EULER, text=CLIP_L, text_2=CLIP_G, scaling=0.13025,
        unet=dict(sample_size=8, block_out_channels=(8, 8, 16), layers_per_block=1, attention_head_dim=[1, 2, 4],
                  transformer_layers_per_block=[1, 1, 2], down_block_types=(DOWN, CROSS_DOWN, CROSS_DOWN),
                  up_block_types=(CROSS_UP, CROSS_UP, UP), norm_num_groups=4, use_linear_projection=True, **XL_ADDED)),
    # The refiner: one text encoder, four levels, a score in place of the target size.
    "refiner": dict(
        seed=23, kind="refiner", scheduler=EULER, text_2=CLIP_G, scaling=0.13025,
        unet=dict(sample_size=8, block_out_channels=(8, 8, 8, 8), layers_per_block=1,
                  attention_head_dim=[1, 2, 2, 4], transformer_layers_per_block=2,
                  down_block_types=(DOWN, CROSS_DOWN, CROSS_DOWN, DOWN),
                  up_block_types=(UP, CROSS_UP, CROSS_UP, UP), norm_num_groups=4, use_linear_projection=True,
                  **{**XL_ADDED, "cross_attention_dim": 40, "projection_class_embeddings_input_dim": 20 + 5 * 8})),
    # SSD-1B: depths that differ within a level and on the two ways, a mid block of one residual block.
    "ssd": dict(
        seed=34, base="xl", scheduler=EULER,
        unet=dict(sample_size=8, block_out_channels=(8, 16), layers_per_block=2, attention_head_dim=[1, 2],
                  transformer_layers_per_block=[1, [1, 2]], reverse_transformer_layers_per_block=[[2, 1, 1], 1],
                  mid_block_type="UNetMidBlock2D", down_block_types=(DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, UP),
                  norm_num_groups=4, use_linear_projection=True, **XL_ADDED)),
    # A latent consistency model: the guidance scale is an input.
    "lcm": dict(
        seed=26, kind="lcm", scheduler=LCM, text=CLIP_L, scaling=0.18215,
        unet=dict(sample_size=8, block_out_channels=(8, 16), layers_per_block=1, attention_head_dim=2,
                  down_block_types=(CROSS_DOWN, DOWN), up_block_types=(UP, CROSS_UP), norm_num_groups=4,
                  cross_attention_dim=24, time_cond_proj_dim=16)),
    # A pruned Stable Diffusion 1 (tiny-sd): three levels, no mid block, one residual block down and two up.
    "pruned": dict(
        seed=25, base="lcm", kind="sd", scheduler=PNDM,
        unet=dict(sample_size=8, block_out_channels=(8, 8, 8), layers_per_block=1, attention_head_dim=2,
                  mid_block_type=None, down_block_types=(CROSS_DOWN,) * 3, up_block_types=(CROSS_UP,) * 3,
                  norm_num_groups=4, cross_attention_dim=24)),
}


# A UNet by itself is run in its base model, whose other parts it shares.
for spec in MODELS.values():
    if "base" in spec:
        for key, value in MODELS[spec["base"]].items():
            spec.setdefault(key, value)


def home(name):
    """The folder whose other parts a model has."""
    return HERE / MODELS[name].get("base", name)


def text_model(cls, spec, size, bos):
    return cls(CLIPTextConfig(vocab_size=size, bos_token_id=bos, pad_token_id=1, max_position_embeddings=77, **spec))


def write_tokenizers(name):
    """Makes an empty folder for the model, with its tokenizers in it unless it shares those of another."""
    spec, folder = MODELS[name], HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    if "base" in spec:
        return
    if "text" in spec:
        write_tokenizer(folder / "tokenizer", pad="!" if name == "sd2" else "<|endoftext|>")
    if "text_2" in spec:
        write_tokenizer(folder / "tokenizer_2", pad="!")


def build(name):
    """Makes the components of one model with random weights. Returns a dict of them."""
    spec = MODELS[name]
    size, bos = 606, 604  # of the tokenizer that all share
    parts = {"unet": UNet2DConditionModel(**spec["unet"]),
             "vae": AutoencoderKL(**VAE, down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=4,
                                  up_block_types=("UpDecoderBlock2D",) * 4, sample_size=64,
                                  scaling_factor=spec["scaling"])}
    if "text" in spec:
        parts["text_encoder"] = text_model(CLIPTextModel, spec["text"], size, bos)
    if "text_2" in spec:
        parts["text_encoder_2"] = text_model(CLIPTextModelWithProjection, spec["text_2"], size, bos)
    for part, module in parts.items():
        seed = spec["seed"] if part == "unet" or "base" not in spec else MODELS[spec["base"]]["seed"]
        randomize(module, seed, FP8, GAINS["text" if part.startswith("text") else part])
    return parts


def pipeline(name, parts):
    """The pipeline of diffusers around the components."""
    spec, folder = MODELS[name], home(name)

    def tokenizer(which):
        return CLIPTokenizer.from_pretrained(folder / which) if (folder / which).exists() else None

    scheduler = getattr(diffusers, spec["scheduler"]["_class_name"]).from_config(spec["scheduler"])
    common = dict(vae=parts["vae"], unet=parts["unet"], text_encoder=parts.get("text_encoder"),
                  tokenizer=tokenizer("tokenizer"), scheduler=scheduler)
    if spec["kind"] in ("sd", "lcm"):
        cls = StableDiffusionPipeline if spec["kind"] == "sd" else LatentConsistencyModelPipeline
        return cls(**common, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    common |= dict(text_encoder_2=parts["text_encoder_2"], tokenizer_2=tokenizer("tokenizer_2"))
    if spec["kind"] == "refiner":
        return StableDiffusionXLImg2ImgPipeline(**common, requires_aesthetics_score=True, add_watermarker=False,
                                                force_zeros_for_empty_prompt=False)
    return StableDiffusionXLPipeline(**common, add_watermarker=False, force_zeros_for_empty_prompt=True)


def write_folder(name, parts, pipe):
    """Writes the diffusers folder, its weights in float8."""
    spec, folder = MODELS[name], HERE / name
    if "base" in spec:
        (folder / "unet").mkdir(parents=True)
        parts["unet"].save_pretrained(folder / "unet")
        parts = {"unet": parts["unet"]}
    else:
        save_folder(folder, spec, pipe)
    for config in folder.rglob("*.json"):  # no word about where it was made
        if config.parent.name.startswith("tokenizer"):
            continue
        values = json.loads(config.read_text(encoding="utf-8"))
        values.pop("_name_or_path", None)
        write_json(config, values)
    for part, module in parts.items():
        (path,) = (folder / part).glob("*.safetensors")
        state = load_file(path)
        for key, value in module.state_dict().items():
            stored = state[key] if key in state else state["text_model." + key]
            assert torch.equal(stored, value) and torch.equal(value.to(FP8).float(), value), (name, part, key)
        save_tensors(path, {k: v.to(FP8) if v.is_floating_point() else v for k, v in state.items()})


def save_folder(folder, spec, pipe):
    kept = {t: {f.name: f.read_bytes() for f in (folder / t).iterdir()}
            for t in ("tokenizer", "tokenizer_2") if (folder / t).exists()}
    pipe.save_pretrained(folder)
    for part, files in kept.items():  # the files as CLIP checkpoints have them
        shutil.rmtree(folder / part)
        (folder / part).mkdir()
        for file, data in files.items():
            shared = sd15_common.HERE / "a" / "tokenizer" / file
            if shared.read_bytes() == data:
                (folder / part / file).symlink_to(f"../../../sd15/a/tokenizer/{file}")
            else:
                (folder / part / file).write_bytes(data)
    write_json(folder / "scheduler" / "scheduler_config.json", spec["scheduler"])


# ---- Cases -------------------------------------------------------------------------------

PROMPT, NEGATIVE = "a photo of a red balloon over green hills", "blurry, low quality"


def case(name, model, prompt=PROMPT, negative=NEGATIVE, steps=3, width=56, height=40, guidance=5.0, seed=1,
         sampler=None, scheduler=None, images=1, options=None, call=None, keep=()):
    """One run of the command. negative None: no such option. options: more arguments; call: the same for diffusers."""
    return dict(locals())


CASES = [
    case("sd2_eps", "sd2"),
    case("sd2_v", "sd2", scheduler=DDIM_V, steps=4, keep=("embeds", "decoded")),
    case("sd2_v_option", "sd2", scheduler=DDIM_V, options=["--prediction-type", "v_prediction"]),
    case("sd2_exclamation", "sd2", prompt="wow! a cat!!", negative="", steps=2),
    case("xl_base", "xl", keep=("embeds", "decoded")),
    case("xl_no_negative", "xl", negative=None, keep=("pooled",)),
    case("xl_empty_negative", "xl", negative="", keep=("pooled",)),
    case("xl_long", "xl", prompt=LONG + "!!", width=72, height=56, steps=2, keep=("embeds",)),
    case("xl_two_images", "xl", prompt="wow! a cat!!", images=2, steps=2, sampler="euler_a", seed=3),
    case("xl_sizes", "xl", steps=2,
         options=["--original-size", "300x200", "--crops-coords-top-left", "5,7", "--target-size", "90x60"],
         call=dict(original_size=(200, 300), crops_coords_top_left=(5, 7), target_size=(60, 90))),
    case("xl_negative_sizes", "xl", steps=2,
         options=["--negative-original-size", "30x20", "--negative-crops-coords-top-left", "1,2",
                  "--negative-target-size", "80x50"],
         call=dict(negative_original_size=(20, 30), negative_crops_coords_top_left=(1, 2),
                   negative_target_size=(50, 80))),
    # diffusers counts from the layer that SDXL has anyway.
    case("xl_clip_skip", "xl", steps=2, options=["--clip-skip", "3"], call=dict(clip_skip=1),
         keep=("embeds",)),
    case("xl_prompt_2", "xl", steps=2, prompt="wow! a cat!!",
         options=["--prompt-2", "an oil painting of a lighthouse", "--negative-prompt-2", "a photograph"],
         call=dict(prompt_2="an oil painting of a lighthouse", negative_prompt_2="a photograph"), keep=("embeds",)),
    case("xl_turbo_1", "xl", negative=None, guidance=0.0, steps=1, scheduler=TURBO, seed=4),
    case("xl_turbo_3", "xl", negative=None, guidance=0.0, steps=3, scheduler=TURBO, seed=4),
    case("xl_lightning_4", "xl", negative=None, guidance=0.0, steps=4, scheduler=LIGHTNING),
    case("xl_lightning_1", "xl", negative=None, guidance=0.0, steps=1, scheduler=LIGHTNING_1),
    case("refiner", "refiner", keep=("embeds",)),
    case("refiner_no_negative", "refiner", negative=None, steps=2),
    case("refiner_scores", "refiner", steps=2, options=["--aesthetic-score", "7.5", "--negative-aesthetic-score", "1"],
         call=dict(aesthetic_score=7.5, negative_aesthetic_score=1.0)),
    case("ssd", "ssd"),
    case("pruned", "pruned", width=64, height=64),
    case("lcm", "lcm", negative=None, guidance=8.5, steps=4, seed=5),
    case("lcm_low_guidance", "lcm", negative=None, guidance=1.0, steps=2, seed=5),
]


def run_case(name, pipe, c):
    """Runs one case with diffusers. Returns (initial latents, golden tensors)."""
    kind, h, w = MODELS[name]["kind"], c["height"] // 8, c["width"] // 8
    latents = torch.randn(c["images"], 4, h, w, generator=torch.Generator().manual_seed(1000 * h + w))
    trace = {}

    def after_step(_pipe, _i, _t, kwargs):
        trace[f"latents.{len(trace)}"] = kwargs["latents"].clone()
        return {}

    call = dict(prompt=c["prompt"], num_inference_steps=c["steps"], guidance_scale=c["guidance"],
                generator=torch.Generator().manual_seed(c["seed"]), num_images_per_prompt=c["images"],
                output_type="latent", callback_on_step_end=after_step, **(c["call"] or {}))
    if kind != "lcm" and c["negative"] is not None:
        call["negative_prompt"] = c["negative"]
    if kind == "refiner":
        # Noise that is given to be refined from the first step on: what text alone would begin with.
        pipe.scheduler.set_timesteps(c["steps"])
        call |= dict(image=latents * pipe.scheduler.init_noise_sigma, denoising_start=1e-9)
        # Latents say no size of a picture.
        call |= dict(original_size=(c["height"], c["width"]), target_size=(c["height"], c["width"]))
    else:
        call |= dict(height=c["height"], width=c["width"], latents=latents)
    guided = c["guidance"] > 1 and kind != "lcm"
    skip = (c["call"] or {}).get("clip_skip")
    with torch.no_grad():
        if skip:  # of the negative prompt, where diffusers leaves it out
            negative, _, pooled, _ = pipe.encode_prompt(call.pop("negative_prompt"), device="cpu", clip_skip=skip,
                                                        do_classifier_free_guidance=False)
            call |= dict(negative_prompt_embeds=negative, negative_pooled_prompt_embeds=pooled)
        final = pipe(**call).images
        if kind in ("sd", "lcm"):
            embeds = pipe.encode_prompt(c["prompt"], "cpu", 1, guided, c["negative"])
            names = ("prompt_embeds", "negative_prompt_embeds")
        else:
            embeds = pipe.encode_prompt(c["prompt"], device="cpu", do_classifier_free_guidance=guided,
                                        negative_prompt=c["negative"], clip_skip=skip,
                                        prompt_2=call.get("prompt_2"), negative_prompt_2=call.get("negative_prompt_2"))
            if skip:
                embeds = (embeds[0], negative, embeds[2], pooled)
            names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        decoded = pipe.vae.decode(final / pipe.vae.config.scaling_factor).sample
    assert torch.equal(final, trace[f"latents.{len(trace) - 1}"]), c["name"]
    result = {**trace, "decoded": decoded}
    result |= {n: e for n, e in zip(names, embeds) if e is not None and (guided or not n.startswith("negative"))}
    for key, value in result.items():
        assert torch.isfinite(value).all(), (c["name"], key)
    return latents, result


def arguments(c):
    """The arguments of `easel generate`, without --model, --initial-latents, --trace, --out-dir."""
    args = ["--prompt", c["prompt"], "--steps", str(c["steps"]), "--guidance-scale", str(c["guidance"]), "--seed",
            str(c["seed"]), "--width", str(c["width"]), "--height", str(c["height"]), "--dtype", "fp32"]
    if c["negative"] is not None:
        args += ["--negative-prompt", c["negative"]]
    if c["sampler"]:
        args += ["--sampler", c["sampler"]]
    if c["images"] != 1:
        args += ["--num-images-per-prompt", str(c["images"])]
    return args + (c["options"] or [])


def set_scheduler(pipe, original, c):
    config = c["scheduler"] or original
    cls = config["_class_name"]
    if c["sampler"]:
        alias = {"euler_a": "euler_ancestral"}.get(c["sampler"], c["sampler"])
        cls = SAMPLERS[alias]
    pipe.scheduler = getattr(diffusers, cls).from_config(config)


def is_embedding(key):
    return key.endswith("prompt_embeds")


def compare(got, want):
    """Relative L2 of embeddings (the worst), last latents and decoded picture."""
    last = f"latents.{sum(k.startswith('latents.') for k in want) - 1}"
    embeds = [k for k in want if is_embedding(k) and want[k].abs().max() > 0]
    return {"prompt_embeds": max(relative_l2(got[k], want[k]) for k in embeds),
            "latents": relative_l2(got[last], want[last]), "decoded": relative_l2(got["decoded"], want["decoded"])}


def make_cases(name, pipe, parts, index):
    original = MODELS[name]["scheduler"]
    cases = [c for c in CASES if c["model"] == name]
    plain = {}
    for c in cases:
        set_scheduler(pipe, original, c)
        plain[c["name"]] = run_case(name, pipe, c)
    for module in parts.values():
        jitter(module, MODELS[name]["seed"])
    for c in cases:
        set_scheduler(pipe, original, c)
        latents, want = plain[c["name"]]
        noise = compare(run_case(name, pipe, c)[1], want)
        entry = {"name": c["name"], "model": home(name).name}
        if "base" in MODELS[name]:
            entry["unet"] = f"{name}/unet"
            if MODELS[name]["scheduler"] != MODELS[MODELS[name]["base"]]["scheduler"]:
                entry["scheduler_config"] = f"schedulers/{c['name']}.json"
                write_json(HERE / entry["scheduler_config"], MODELS[name]["scheduler"])
        if c["scheduler"] and "--prediction-type" not in (c["options"] or []):
            entry["scheduler_config"] = f"schedulers/{c['name']}.json"
            write_json(HERE / entry["scheduler_config"], c["scheduler"])
        elif c["scheduler"]:  # the same but for what the option says
            entry["scheduler_config"] = f"schedulers/{c['name']}.json"
            write_json(HERE / entry["scheduler_config"], {**c["scheduler"], "prediction_type": "epsilon"})
        shape = "x".join(str(n) for n in latents.shape)
        entry["initial_latents"] = f"initial_latents_{shape}.safetensors"
        save_tensors(HERE / entry["initial_latents"], {"latents": latents})
        entry |= {"args": arguments(c), "expected": f"cases/{c['name']}.safetensors",
                  "iterations": sum(k.startswith("latents.") for k in want),
                  "jitter": {k: float(f"{v:.2e}") for k, v in noise.items()}}
        for key, value in noise.items():
            if value > BOUNDS[key] / 10:
                print(f"WARNING {c['name']}: jitter of {key} {value:.1e} > {BOUNDS[key] / 10:.1e}")
        last = f"latents.{entry['iterations'] - 1}"
        kept = {k: v for k, v in want.items() if k == last or (k == "decoded" and "decoded" in c["keep"])
                or (is_embedding(k) and "embeds" in c["keep"])
                or (is_embedding(k) and "pooled" in k and "pooled" in c["keep"])}
        save_tensors(HERE / entry["expected"], kept)
        index["cases"].append(entry)
        print(f"{c['name']:24} jitter " + " ".join(f"{v:.1e}" for v in noise.values())
              + f"   std embeds/decoded {want['prompt_embeds'].std():.2f} {want['decoded'].std():.2f}"
              f" latents {want[last].std():.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(MODELS), help="make this model and its cases only")
    only = parser.parse_args().only
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    path = HERE / "index.json"
    old = json.loads(path.read_text(encoding="utf-8"))["cases"] if only and path.exists() else []
    index = {"bounds": BOUNDS, "cases": []}
    for name in MODELS:
        if only and name != only:
            index["cases"] += [e for e in old if e.get("unet", e["model"]).split("/")[0] == name]
            continue
        write_tokenizers(name)
        parts = build(name)
        print(name, {k: sum(p.numel() for p in m.parameters()) for k, m in parts.items()})
        pipe = pipeline(name, parts)
        pipe.set_progress_bar_config(disable=True)
        write_folder(name, parts, pipe)
        make_cases(name, pipe, parts, index)
    write_json(path, index)


if __name__ == "__main__":
    main()
