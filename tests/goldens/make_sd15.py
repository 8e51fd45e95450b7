"""Makes the tiny Stable Diffusion 1.5 models and their picture goldens.

    python3 tests/goldens/make_sd15.py            # everything, into tests/goldens/sd15/
    python3 tests/goldens/make_sd15.py --only a   # one model and its cases

Run by developers only, with torch (CPU), diffusers, transformers and safetensors; what it
writes is committed. Everything is seeded: a second run gives the same weights, and the
same goldens up to the last bits of the torch build. See README.md for the files.
"""

import argparse
import json
import shutil
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sd15_common import (BOUNDS, HERE, jitter, randomize, relative_l2, save_tensors, write_json,
                         write_tokenizer)
from sd15_ldm import check_against_diffusers, to_ldm

# ---- The models ----------------------------------------------------------------------

SD15_SCHEDULER = {  # as published
    "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
    "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None,
    "clip_sample": False}
SD21_SCHEDULER = {  # the 768-pixel model's fields, with DDIM
    "_class_name": "DDIMScheduler", "_diffusers_version": "0.8.0", "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False,
    "num_train_timesteps": 1000, "prediction_type": "v_prediction", "set_alpha_to_one": False,
    "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None}

MODELS = {
    # SD1.5's shape: one number of heads for all levels (24/3 = 8 and 27/3 = 9 wide), conv
    # projections, quick_gelu, PNDM. Channels that are no multiple of a vector. float32 files.
    "a": dict(
        dtype=torch.float32, seed=1, scheduler=SD15_SCHEDULER, pad="<|endoftext|>",
        unet=dict(
            sample_size=8, block_out_channels=(24, 27), layers_per_block=1, attention_head_dim=3,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), norm_num_groups=3,
            cross_attention_dim=32),
        vae=dict(block_out_channels=(6, 9, 12, 15), layers_per_block=1, norm_num_groups=3),
        text=dict(hidden_size=32, intermediate_size=72, num_hidden_layers=2,
                  num_attention_heads=4, hidden_act="quick_gelu", eos_token_id=2)),
    # SD2.1's shape: a list of heads (16/2 = 8 and 40/1 = 40 wide), linear projections, gelu,
    # v-prediction, "!" as padding. bfloat16 files with the names that old diffusers and
    # transformers 4 wrote.
    "b": dict(
        dtype=torch.bfloat16, seed=2, scheduler=SD21_SCHEDULER, pad="!", old_names=True,
        unet=dict(
            sample_size=8, block_out_channels=(16, 40), layers_per_block=1,
            attention_head_dim=[2, 1], use_linear_projection=True,
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), norm_num_groups=8,
            cross_attention_dim=40),
        vae=dict(block_out_channels=(8, 8, 12, 16), layers_per_block=1, norm_num_groups=4),
        text=dict(hidden_size=40, intermediate_size=80, num_hidden_layers=3,
                  num_attention_heads=5, hidden_act="gelu", eos_token_id=605)),
    # What a single file says by its shapes alone, with the numbers it cannot say as in SD1.5:
    # 8 heads, 32 groups, 64-wide text heads, a factor of 8 in the VAE. float16 file with the
    # original names; the folder has no weights. Few different values, so that it packs well.
    "d": dict(
        dtype=torch.float16, seed=4, scheduler=SD15_SCHEDULER, pad="<|endoftext|>", ldm=True,
        step=0.25, unet=dict(
            sample_size=64, block_out_channels=(32, 32), layers_per_block=2, attention_head_dim=8,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), norm_num_groups=32,
            cross_attention_dim=64),
        vae=dict(block_out_channels=(32, 32, 32, 32), layers_per_block=1, norm_num_groups=32),
        text=dict(hidden_size=64, intermediate_size=256, num_hidden_layers=2,
                  num_attention_heads=1, hidden_act="quick_gelu", eos_token_id=2)),
}

GAINS = {  # factors that keep random networks calm: small residual branches, unit-size outputs
    "unet": {"conv2.weight": 0.5, "to_out.0.weight": 0.7, "ff.net.2.weight": 0.7, "proj_out.weight": 0.7,
             "to_q.weight": 1.5},
    # Larger feed-forward branches: tanh-GELU in place of erf then moves the latents by 2.5e-4.
    "unet_a": {"conv2.weight": 0.5, "ff.net.0.proj.weight": 1.5, "to_q.weight": 1.5},
    "vae": {"conv2.weight": 0.5, "encoder.conv_out.weight": 0.7, "decoder.conv_out.weight": 0.5,
            "decoder.conv_in.weight": 0.4},
    "text": {"q_proj.weight": 1.5, "out_proj.weight": 0.7, "fc2.weight": 0.7},
}


def build(name):
    """Makes the components of one model with random weights. Returns a dict of them."""
    spec = MODELS[name]
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    size, bos, eos = write_tokenizer(folder / "tokenizer", pad=spec["pad"])
    levels = len(spec["vae"]["block_out_channels"])
    text = {"vocab_size": size, "bos_token_id": bos, "pad_token_id": 1, "max_position_embeddings": 77,
            "projection_dim": spec["text"]["hidden_size"], **spec["text"]}
    parts = {
        "unet": UNet2DConditionModel(**spec["unet"]),
        "vae": AutoencoderKL(
            **spec["vae"], down_block_types=("DownEncoderBlock2D",) * levels, latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * levels, sample_size=64, scaling_factor=0.18215),
        "text": CLIPTextModel(CLIPTextConfig(**text)),
    }
    for kind, module in parts.items():
        randomize(module, spec["seed"], spec["dtype"], GAINS.get(f"{kind}_{name}", GAINS[kind]), spec.get("step"))
    return parts


def write_folder(name, parts):
    """Writes the diffusers folder (and for `ldm` the single file instead of weights)."""
    spec, folder = MODELS[name], HERE / name
    cast = {k: m.to(spec["dtype"]) for k, m in parts.items()}
    scheduler = getattr(diffusers, spec["scheduler"]["_class_name"]).from_config(spec["scheduler"])
    StableDiffusionPipeline(
        vae=cast["vae"], unet=cast["unet"], text_encoder=cast["text"],
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)
    write_tokenizer(folder / "tokenizer", pad=spec["pad"])  # the files as CLIP checkpoints have them
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    write_json(folder / "scheduler" / "scheduler_config.json", spec["scheduler"])
    for config in folder.rglob("*.json"):  # no word about where it was made
        if config.parent.name == "tokenizer":
            continue
        values = json.loads(config.read_text(encoding="utf-8"))
        values.pop("_name_or_path", None)
        write_json(config, values)
    if spec.get("old_names"):
        rename_as_of_old(folder)
    if spec.get("ldm"):
        state = to_ldm(cast["unet"], cast["vae"], cast["text"], spec["scheduler"])
        check_against_diffusers(state, cast["unet"], cast["vae"], cast["text"])
        save_tensors(folder / "model.safetensors", state)
    for module in parts.values():
        module.float()


def rename_as_of_old(folder):
    """Renames to `text_model.*` (transformers 4) and to query/key/value/proj_attn (diffusers 0.x)."""
    path = folder / "text_encoder" / "model.safetensors"
    state = {"text_model." + k.removeprefix("text_model."): v for k, v in load_file(path).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    save_tensors(path, state)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    new = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(key):
        for piece, old in new.items():
            key = key.replace(f"attentions.0.{piece}.", f"attentions.0.{old}.")
        return key

    save_tensors(path, {rename(k): v for k, v in load_file(path).items()})


def read_pipeline(name, parts):
    """The pipeline as diffusers reads it from the folder, in float32; checks it has our weights."""
    folder = HERE / name
    if MODELS[name].get("ldm"):  # no weights in the folder: use those the single file was checked with
        scheduler = diffusers.PNDMScheduler.from_pretrained(folder / "scheduler")
        pipe = StableDiffusionPipeline(
            vae=parts["vae"], unet=parts["unet"], text_encoder=parts["text"],
            tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"), scheduler=scheduler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False)
        for kind in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
            (folder / f"{kind}.safetensors").unlink(missing_ok=True)
    else:
        pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32,
                                                       local_files_only=True)
    got = {"unet": pipe.unet, "vae": pipe.vae, "text": pipe.text_encoder}
    for kind, module in parts.items():
        module.float()
        state = got[kind].eval().float().state_dict()
        for key, value in module.state_dict().items():
            assert torch.equal(state[key].reshape(value.shape), value), f"{name} {kind} {key}"
    return pipe


# ---- The cases -----------------------------------------------------------------------

LONG = ("a very detailed oil painting of the old man and the sea, mountains at dawn, a red balloon over "
        "green hills at sunset, high quality lighting, stars and clouds in the night, it's a boat by the "
        "house, and a cat with a flower; the astronaut riding a horse on the moon didn't see the car, " * 2)
PROMPT, NEGATIVE = "a photo of a red balloon over green hills", "blurry, low quality"

SAMPLERS = {
    "ddpm": "DDPMScheduler", "ddim": "DDIMScheduler", "pndm": "PNDMScheduler",
    "dpm_solver++": "DPMSolverMultistepScheduler", "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler"}


def case(name, model="a", prompt=PROMPT, negative=NEGATIVE, steps=4, width=56, height=40, guidance=7.5,
         seed=1, sampler=None, scheduler=None, images=1, eta=None, given_latents=True, keep=()):
    """One run of the command. `scheduler`: a scheduler_config.json that replaces the folder's.

    `keep`: what the golden holds besides the latents: "embeds", "decoded".
    """
    return dict(locals())


def with_class(cls, **fields):
    return {**SD15_SCHEDULER, "_class_name": cls, **fields}


DPM = "DPMSolverMultistepScheduler"
EULER = "EulerDiscreteScheduler"
CASES = [
    # The folder's own scheduler and the ways to ask for a picture.
    case("pndm", keep=("embeds", "decoded")),
    case("long_prompt", prompt=LONG, keep=("embeds",)),
    case("empty_negative", negative="", width=40, keep=("embeds", "decoded")),
    case("empty_prompt", prompt="", guidance=3.0, keep=("embeds",)),
    case("unicode_prompt", prompt="Ein Mädchen 🎈 über  grünen\tHügeln!! it's 42°", keep=("embeds",)),
    case("guidance_off", guidance=1.0, width=64, height=96, keep=("embeds",)),
    case("guidance_below_1", guidance=0.5, steps=3),
    case("odd_latents", width=72, height=56, keep=("decoded",)),  # 9x7 → 5x4: explicit upsample sizes
    case("two_images", images=2, steps=3, width=40, keep=("embeds", "decoded")),
    case("seed_only", given_latents=False, seed=1234567890123, keep=("decoded",)),
    case("seed_only_two_images", given_latents=False, images=2, steps=3, seed=42),
    case("plms_2_steps", sampler="plms", steps=2),
    case("plms_6_steps", sampler="PNDMScheduler", steps=6),
    # Every sampler from the folder's config, diffusers' X.from_config(...).
    case("ddpm", sampler="ddpm", steps=5, seed=7),
    case("ddim", sampler="ddim", steps=5),
    case("ddim_eta_0.5", sampler="ddim", steps=5, eta=0.5, seed=8),
    case("ddim_eta_1", sampler="ddim", steps=4, eta=1.0, seed=8),
    case("dpm_solver++", sampler="dpm_solver++", steps=6),
    case("euler", sampler="euler", steps=5),
    case("euler_ancestral", sampler="euler_a", steps=5, seed=9),
    case("euler_ancestral_seed_only", sampler="euler_ancestral", steps=3, seed=9, given_latents=False, images=2),
    case("ddpm_two_images_seed_only", sampler="ddpm", steps=3, seed=5, given_latents=False, images=2),
    # Scheduler configs with fields of their own.
    case("prk", scheduler=with_class("PNDMScheduler", skip_prk_steps=False), steps=4),
    case("pndm_trailing", scheduler=with_class("PNDMScheduler", timestep_spacing="trailing", steps_offset=0)),
    case("dpm_order_1", scheduler=with_class(DPM, solver_order=1), steps=5),
    case("dpm_order_3", scheduler=with_class(DPM, solver_order=3), steps=6),
    case("dpm_order_3_16_steps", scheduler=with_class(DPM, solver_order=3, solver_type="heun"), steps=16,
         guidance=1.0),
    case("dpm_heun_sigma_min", scheduler=with_class(DPM, solver_type="heun", final_sigmas_type="sigma_min",
                                                    lower_order_final=False), steps=5),
    case("dpm_sde", scheduler=with_class(DPM, algorithm_type="sde-dpmsolver++"), steps=5, seed=10),
    case("dpm_sde_karras", scheduler=with_class(DPM, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True),
         steps=5, seed=10),
    case("dpm_karras_trailing", scheduler=with_class(DPM, use_karras_sigmas=True, timestep_spacing="trailing"),
         steps=5),
    case("dpm_leading_euler_at_final", scheduler=with_class(DPM, timestep_spacing="leading", euler_at_final=True),
         steps=5),
    case("dpm_thresholding", scheduler=with_class(DPM, thresholding=True, sample_max_value=1.5,
                                                  dynamic_thresholding_ratio=0.9), steps=4, guidance=3.0),
    case("ddim_thresholding", scheduler=with_class("DDIMScheduler", thresholding=True, sample_max_value=1.5,
                                                   dynamic_thresholding_ratio=0.9), steps=4, guidance=1.0),
    case("ddim_clip_sample", scheduler=with_class("DDIMScheduler", clip_sample=True, clip_sample_range=1.5,
                                                  set_alpha_to_one=True, timestep_spacing="trailing"), steps=4,
         guidance=1.0),
    case("ddim_zero_snr_linspace", scheduler=with_class("DDIMScheduler", rescale_betas_zero_snr=True,
                                                        prediction_type="v_prediction",
                                                        timestep_spacing="trailing"), steps=4),
    case("ddim_sample_prediction", scheduler=with_class("DDIMScheduler", prediction_type="sample"), steps=4,
         guidance=2.0),
    case("ddpm_fixed_large", scheduler=with_class("DDPMScheduler", variance_type="fixed_large",
                                                  timestep_spacing="linspace"), steps=4, seed=11),
    case("ddpm_fixed_small_log_cosine", scheduler=with_class(
        "DDPMScheduler", variance_type="fixed_small_log", beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction"), steps=4, seed=11),
    case("ddpm_clip_trailing", scheduler=with_class("DDPMScheduler", clip_sample=True, clip_sample_range=2.0,
                                                    timestep_spacing="trailing"), steps=4, seed=11,
         guidance=1.5),
    case("euler_karras_leading", scheduler=with_class(EULER, use_karras_sigmas=True,
                                                      timestep_spacing="leading"), steps=5),
    case("euler_exponential", scheduler=with_class(EULER, use_exponential_sigmas=True), steps=5),
    case("euler_trailing_v", scheduler=with_class(EULER, timestep_spacing="trailing",
                                                  prediction_type="v_prediction"), steps=5),
    case("euler_trained_betas", scheduler=with_class(EULER, num_train_timesteps=100, steps_offset=0, trained_betas=[
        round(0.001 + 0.0005 * i, 6) for i in range(100)]), steps=5),
    case("euler_linear_sigma_min", scheduler=with_class(EULER, beta_schedule="linear", beta_start=0.0001,
                                                        beta_end=0.02, final_sigmas_type="sigma_min",
                                                        interpolation_type="log_linear"), steps=5),
    case("euler_ancestral_v_leading", scheduler=with_class("EulerAncestralDiscreteScheduler",
                                                           prediction_type="v_prediction",
                                                           timestep_spacing="leading"), steps=5, seed=12,
         guidance=3.0),
    # The SD2.1-shaped model.
    case("b_ddim_v", model="b", steps=4, width=40, keep=("embeds", "decoded")),
    case("b_long_odd", model="b", prompt=LONG + "!!", steps=3, width=72, height=56, keep=("embeds",)),
    case("b_padding_is_exclamation", model="b", prompt="wow! a cat!!", negative="", keep=("embeds",), steps=3),
    case("b_euler_ancestral", model="b", sampler="euler_a", steps=4, seed=13, images=2),
    case("b_dpm_sde", model="b", steps=4, seed=14, scheduler={
        **SD21_SCHEDULER, "_class_name": DPM, "algorithm_type": "sde-dpmsolver++", "solver_order": 2}),
    # The single file.
    case("d_pndm", model="d", steps=3, width=64, height=64, keep=("embeds", "decoded")),
    case("d_euler_odd", model="d", sampler="euler", steps=3, width=72, height=56, guidance=5.0),
]


def run_case(pipe, c):
    """Runs one case with diffusers. Returns (initial latents or None, golden tensors)."""
    h, w = c["height"] // 8, c["width"] // 8
    latents = None
    if c["given_latents"]:
        latents = torch.randn(c["images"], 4, h, w, generator=torch.Generator().manual_seed(1000 * h + w))
    generator = torch.Generator().manual_seed(c["seed"])
    trace = {}

    def after_step(_pipe, _i, _t, kwargs):
        trace[f"latents.{len(trace)}"] = kwargs["latents"].clone()
        return {}

    # diffusers multiplies given latents by init_noise_sigma itself.
    with torch.no_grad():
        final = pipe(
            prompt=c["prompt"], negative_prompt=c["negative"], num_inference_steps=c["steps"],
            guidance_scale=c["guidance"], height=c["height"], width=c["width"], latents=latents,
            generator=generator, num_images_per_prompt=c["images"], eta=c["eta"] or 0.0,
            output_type="latent", callback_on_step_end=after_step).images
        guided = c["guidance"] > 1
        embeds, negative = pipe.encode_prompt(c["prompt"], "cpu", 1, guided, c["negative"])
        decoded = pipe.vae.decode(final / pipe.vae.config.scaling_factor).sample
    last = trace[f"latents.{len(trace) - 1}"]
    assert torch.equal(final, last), c["name"]
    for key, value in {**trace, "decoded": decoded}.items():
        assert torch.isfinite(value).all(), (c["name"], key)
    result = {**trace, "prompt_embeds": embeds, "decoded": decoded}
    if guided:
        result["negative_prompt_embeds"] = negative
    return latents, result


def set_scheduler(pipe, original, c):
    """Puts the scheduler of the case into the pipeline."""
    if c["scheduler"]:
        pipe.scheduler = getattr(diffusers, c["scheduler"]["_class_name"]).from_config(c["scheduler"])
    elif c["sampler"]:
        alias = {"plms": "pndm", "euler_a": "euler_ancestral"}.get(c["sampler"], c["sampler"])
        pipe.scheduler = getattr(diffusers, SAMPLERS.get(alias, alias)).from_config(original)
    else:
        pipe.scheduler = getattr(diffusers, original["_class_name"]).from_config(original)


def arguments(c):
    """The arguments of `easel generate`, without --model, --initial-latents, --trace, --out-dir."""
    args = ["--prompt", c["prompt"], "--negative-prompt", c["negative"], "--steps", str(c["steps"]),
            "--guidance-scale", str(c["guidance"]), "--seed", str(c["seed"]), "--width", str(c["width"]),
            "--height", str(c["height"]), "--dtype", "fp32"]
    if c["sampler"]:
        args += ["--sampler", c["sampler"]]
    if c["images"] != 1:
        args += ["--num-images-per-prompt", str(c["images"])]
    if c["eta"] is not None:
        args += ["--eta", str(c["eta"])]
    return args


def compare(got, want):
    """Relative L2 of embeddings (the worse of the two), last latents and decoded picture."""
    last = max((k for k in want if k.startswith("latents.")), key=lambda k: int(k.split(".")[1]))
    embeds = [k for k in want if k.endswith("prompt_embeds")]
    return {"prompt_embeds": max(relative_l2(got[k], want[k]) for k in embeds),
            "latents": relative_l2(got[last], want[last]), "decoded": relative_l2(got["decoded"], want["decoded"])}


def make_cases(name, pipe, index):
    """Runs all cases of one model, plain and with jittered weights; writes files, fills the index."""
    original = MODELS[name]["scheduler"]
    cases = [c for c in CASES if c["model"] == name]
    plain = {}
    for c in cases:
        set_scheduler(pipe, original, c)
        plain[c["name"]] = run_case(pipe, c)
    for module in (pipe.unet, pipe.vae, pipe.text_encoder):
        jitter(module, MODELS[name]["seed"])
    for c in cases:
        set_scheduler(pipe, original, c)
        latents, want = plain[c["name"]]
        noise = compare(run_case(pipe, c)[1], want)
        entry = {"name": c["name"],
                 "model": f"{name}/model.safetensors" if MODELS[name].get("ldm") else name}
        if MODELS[name].get("ldm"):
            entry["tokenizer"] = f"{name}/tokenizer"
        if c["scheduler"]:
            entry["scheduler_config"] = f"schedulers/{c['name']}.json"
            write_json(HERE / entry["scheduler_config"], c["scheduler"])
        if latents is not None:
            shape = "x".join(str(n) for n in latents.shape)
            entry["initial_latents"] = f"initial_latents_{shape}.safetensors"
            save_tensors(HERE / entry["initial_latents"], {"latents": latents})
        entry |= {"args": arguments(c), "expected": f"cases/{c['name']}.safetensors"}
        entry["iterations"] = sum(k.startswith("latents.") for k in want)
        entry["jitter"] = {k: float(f"{v:.2e}") for k, v in noise.items()}
        for key, value in noise.items():
            if value > BOUNDS[key] / 10:
                print(f"WARNING {c['name']}: jitter of {key} {value:.1e} > {BOUNDS[key] / 10:.1e}")
        kept = {k: v for k, v in want.items() if k.startswith("latents.")
                or (k == "decoded" and "decoded" in c["keep"])
                or (k.endswith("prompt_embeds") and "embeds" in c["keep"])}
        save_tensors(HERE / entry["expected"], kept)
        index["cases"].append(entry)
        spread = " ".join(f"{want[k].std():.2f}" for k in ("prompt_embeds", "decoded"))
        last = want[f"latents.{entry['iterations'] - 1}"].std()
        print(f"{c['name']:32} jitter " + " ".join(f"{v:.1e}" for v in noise.values())
              + f"   std embeds/decoded {spread} latents {last:.2f}")


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
    for name in sorted(MODELS):
        if only and name != only:
            index["cases"] += [e for e in old if Path(e["model"]).parts[0] == name]
            continue
        parts = build(name)
        print(name, {k: sum(p.numel() for p in m.parameters()) for k, m in parts.items()})
        write_folder(name, parts)
        pipe = read_pipeline(name, parts)
        pipe.set_progress_bar_config(disable=True)
        make_cases(name, pipe, index)
    write_json(path, index)


if __name__ == "__main__":
    main()
