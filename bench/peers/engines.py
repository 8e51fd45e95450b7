"""The engines that bench.py compares; each run happens in a process of its own.

    python3 bench/peers/engines.py prepare  --model DIR --work WORK …   # latents, embeddings, coefficients
    python3 bench/peers/engines.py convert  --model DIR --work WORK …   # OpenVINO models, once
    python3 bench/peers/engines.py diffusers-fp32 --model DIR --work WORK …

bench.py calls these. A run prints one JSON object on its last line of stdout: seconds for
load, text_encode (both prompts), steps (one per UNet call with guidance, both branches in one
batch) and decode, and `first_step_at`, the time since the epoch at which the first step began.
The model is a folder of Stable Diffusion 1.x, 2.x or XL.
It writes `unet` (the conditional half of the first UNet output), `latents` and `decoded` to
WORK/<engine>.npz. All engines run the same DDIM steps without noise, which are
x ← c_x·x + c_e·eps with coefficients from `prepare`, so that an engine without schedulers
needs nothing but numpy. sd.cpp takes no latents: its times are measured, its pictures are not
compared.
"""

import argparse
import contextlib
import io
import json
import os
import re
import time
from pathlib import Path

import numpy as np


def clock():
    return time.perf_counter()


def load_pipeline(model, dtype):
    """The diffusers pipeline with its weights in `dtype`."""
    import torch
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    xl = (Path(model) / "text_encoder_2").exists()
    extra = {"add_watermarker": False} if xl else {"safety_checker": None, "requires_safety_checker": False}
    pipe = (StableDiffusionXLPipeline if xl else StableDiffusionPipeline).from_pretrained(
        model, dtype=dtype, local_files_only=True, **extra)
    for part in filter(None, (pipe.unet, pipe.vae, pipe.text_encoder, getattr(pipe, "text_encoder_2", None))):
        part.to(dtype).eval().requires_grad_(False)
    torch.set_grad_enabled(False)
    return pipe


def encode(pipe, args):
    """What the UNet is told of the prompts: [embeddings] or, for XL, [embeddings, pooled embeddings, sizes], rows of the
    negative prompt first."""
    import torch

    both = pipe.encode_prompt(args.prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True,
                              negative_prompt=args.negative_prompt)
    rows = [torch.cat([both[1], both[0]])]
    if len(both) == 4:
        size = (args.height, args.width)
        ids = torch.tensor([[*size, 0, 0, *size]] * 2, dtype=rows[0].dtype)
        rows += [torch.cat([both[3], both[2]]), ids]
    return [r.repeat_interleave(args.batch_size, 0) for r in rows]


def call_unet(unet, sample, timestep, embeds, pooled=None, time_ids=None):
    added = None if pooled is None else {"text_embeds": pooled, "time_ids": time_ids}
    return unet(sample, timestep, embeds, added_cond_kwargs=added, return_dict=False)[0]


def text_encoders(pipe):
    """[(tokenizer, encoder)], one or two."""
    pairs = [(pipe.tokenizer, pipe.text_encoder)]
    if hasattr(pipe, "text_encoder_2"):
        pairs.append((pipe.tokenizer_2, pipe.text_encoder_2))
    return pairs


def prepare(args):
    """Writes WORK/shared.npz: initial latents, token ids, what encode() gives, timesteps, coefficients.

    Also WORK/latents.safetensors for engines that read a file.
    """
    import torch
    from diffusers import DDIMScheduler
    from safetensors.numpy import save_file

    torch.set_num_threads(args.threads)
    pipe = load_pipeline(args.model, torch.float32)
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    if scheduler.config.prediction_type != "epsilon" or scheduler.config.clip_sample:
        raise SystemExit("the benchmark's DDIM steps need a model that predicts epsilon, without clipping")
    scheduler.set_timesteps(args.steps)
    stride = scheduler.config.num_train_timesteps // args.steps
    c_x, c_e = [], []
    for t in scheduler.timesteps.tolist():
        now = scheduler.alphas_cumprod[t].double()
        before = t - stride
        then = (scheduler.alphas_cumprod[before] if before >= 0 else scheduler.final_alpha_cumprod).double()
        c_x.append((then / now).sqrt().item())
        c_e.append(((1 - then).sqrt() - (then * (1 - now) / now).sqrt()).item())
    conditions = {f"condition_{i}": c.numpy() for i, c in enumerate(encode(pipe, args))}
    ids = {f"input_ids_{i}": tokenizer([args.negative_prompt, args.prompt], padding="max_length", truncation=True,
                                       max_length=tokenizer.model_max_length, return_tensors="np").input_ids
           for i, (tokenizer, _) in enumerate(text_encoders(pipe))}
    shape = (args.batch_size, pipe.unet.config.in_channels, args.height // 8, args.width // 8)
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(args.seed)).numpy()
    work = Path(args.work)
    np.savez(work / "shared.npz", latents=latents, **ids, **conditions, timesteps=scheduler.timesteps.numpy(), c_x=c_x,
             c_e=c_e, scaling_factor=pipe.vae.config.scaling_factor)
    save_file({"latents": latents}, str(work / "latents.safetensors"))
    return {"timesteps": scheduler.timesteps.tolist()}


def run_diffusers(args, dtype_name, channels_last):
    """torch eager; `channels_last` is torch's memory format for convolutions."""
    import torch

    torch.set_num_threads(args.threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype_name]
    shared = np.load(Path(args.work) / "shared.npz")
    start = clock()
    pipe = load_pipeline(args.model, dtype)
    if channels_last:
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    seconds = {"load": clock() - start}
    start = clock()
    conditions = encode(pipe, args)
    seconds["text_encode"] = clock() - start
    x = torch.from_numpy(shared["latents"])
    half, unet = len(x), None
    seconds["steps"], seconds["first_step_at"] = [], time.time()
    for t, c_x, c_e in zip(shared["timesteps"], shared["c_x"], shared["c_e"]):
        start = clock()
        both = call_unet(pipe.unet, torch.cat([x, x]).to(dtype), torch.tensor(t), *conditions).float()
        eps = both[:half] + args.guidance_scale * (both[half:] - both[:half])
        x = float(c_x) * x + float(c_e) * eps
        seconds["steps"].append(clock() - start)
        unet = both[half:].numpy() if unet is None else unet
    start = clock()
    decoded = pipe.vae.decode((x / float(shared["scaling_factor"])).to(dtype)).sample.float()
    seconds["decode"] = [clock() - start]
    return seconds, {"unet": unet, "latents": x.numpy(), "decoded": decoded.numpy()}


def convert(args):
    """Converts text encoder, UNet (both branches in one batch) and VAE decoder to OpenVINO models with static shapes,
    unless those of an earlier run are there."""
    import openvino
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from openvino.frontend.pytorch import patch_model
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    work = Path(args.work)
    shared = np.load(work / "shared.npz")
    made_for = {"openvino": openvino.__version__, "model": str(Path(args.model).resolve()),
                "latents": list(shared["latents"].shape), "fp16": args.compress_to_fp16}
    record = work / "converted.json"
    if record.exists() and json.loads(record.read_text()) == made_for:
        return made_for
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    # From 16-bit weights OpenVINO makes graphs that compute in fp32, in half the memory.
    dtype = torch.float16 if args.compress_to_fp16 else torch.float32
    xl = (Path(args.model) / "text_encoder_2").exists()

    class Unet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = UNet2DConditionModel.from_pretrained(args.model, subfolder="unet", dtype=dtype)

        def forward(self, sample, timestep, embeds):
            return call_unet(self.unet, sample, timestep, embeds)

    class UnetXL(Unet):
        def forward(self, sample, timestep, embeds, pooled, time_ids):
            return call_unet(self.unet, sample, timestep, embeds, pooled, time_ids)

    class Text(torch.nn.Module):
        def __init__(self, kind, folder):
            super().__init__()
            self.text = kind.from_pretrained(args.model, subfolder=folder, dtype=dtype)

        def forward(self, input_ids):
            if not xl:
                return self.text(input_ids).last_hidden_state
            out = self.text(input_ids, output_hidden_states=True)
            return out.hidden_states[-2], out[0]

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.vae = AutoencoderKL.from_pretrained(args.model, subfolder="vae", dtype=dtype)

        def forward(self, latents):
            return self.vae.decode(latents, return_dict=False)[0]

    def of_shared(kind, count):
        return tuple(torch.from_numpy(shared[f"{kind}_{i}"]) for i in range(count))

    # One at a time: the traced graph of SDXL's UNet leaves no room for another network.
    def save(name, module, example):
        if args.compress_to_fp16:
            getattr(patch_model, "__make_16bit_traceable")(module)
        model = openvino.convert_model(module.eval(), example_input=example, input=[tuple(e.shape) for e in example])
        openvino.save_model(model, work / f"{name}.xml", compress_to_fp16=args.compress_to_fp16)

    ids, x = of_shared("input_ids", 2 if xl else 1), torch.from_numpy(shared["latents"])
    save("text_0", Text(CLIPTextModel, "text_encoder"), ids[:1])
    if xl:
        save("text_1", Text(CLIPTextModelWithProjection, "text_encoder_2"), ids[1:])
    save("decoder", Decoder(), (x,))
    save("unet", (UnetXL if xl else Unet)(), (torch.cat([x, x]), torch.tensor([999.0]),
                                              *of_shared("condition", 3 if xl else 1)))
    record.write_text(json.dumps(made_for))
    return made_for


def run_openvino(args, dtype_name):
    """OpenVINO on the CPU, one stream, latency mode. No torch in this process."""
    import openvino

    work = Path(args.work)
    shared = np.load(work / "shared.npz")
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[dtype_name],
               "INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY"}
    start = clock()
    texts = [core.compile_model(core.read_model(path), "CPU", options) for path in sorted(work.glob("text_*.xml"))]
    unet = core.compile_model(core.read_model(work / "unet.xml"), "CPU", options)
    decoder = core.compile_model(core.read_model(work / "decoder.xml"), "CPU", options)
    seconds = {"load": clock() - start, "steps": []}
    start = clock()
    encoded = [list(text.create_infer_request().infer([shared[f"input_ids_{i}"]]).values())
               for i, text in enumerate(texts)]
    conditions = [np.concatenate([states for states, *_ in encoded], -1)]
    if len(texts) == 2:
        conditions += [encoded[1][1], shared["condition_2"][::args.batch_size]]
    conditions = [np.repeat(c, args.batch_size, 0) for c in conditions]
    seconds["text_encode"] = clock() - start
    unet_request, decoder_request = unet.create_infer_request(), decoder.create_infer_request()
    x = shared["latents"]
    half, first = len(x), None
    seconds["first_step_at"] = time.time()
    for t, c_x, c_e in zip(shared["timesteps"], shared["c_x"], shared["c_e"]):
        start = clock()
        outputs = unet_request.infer([np.concatenate([x, x]), np.array([t], np.float32), *conditions])
        both = next(iter(outputs.values()))
        eps = both[:half] + np.float32(args.guidance_scale) * (both[half:] - both[:half])
        x = np.float32(c_x) * x + np.float32(c_e) * eps
        seconds["steps"].append(clock() - start)
        first = np.array(both[half:]) if first is None else first
    start = clock()
    decoded = next(iter(decoder_request.infer([x / np.float32(shared["scaling_factor"])]).values()))
    seconds["decode"] = [clock() - start]
    return seconds, {"unet": first, "latents": x, "decoded": np.array(decoded)}


def run_sdcpp(args, flash_attention):
    """stable-diffusion.cpp, from a single file: both branches of guidance one after the other, pictures one by one."""
    import stable_diffusion_cpp

    start = clock()
    log = io.StringIO()
    with contextlib.redirect_stderr(log):  # its log alone tells what encoding and decoding took
        model = stable_diffusion_cpp.StableDiffusion(model_path=args.single_file, n_threads=args.threads,
                                                     vae_decode_only=True, diffusion_flash_attn=flash_attention)
        seconds = {"load": clock() - start}
        at, wall = [], []

        def progress(step, steps, _seconds):
            at.append((step, steps, clock()))
            wall.append(time.time())

        model.generate_image(prompt=args.prompt, negative_prompt=args.negative_prompt, width=args.width,
                             height=args.height, cfg_scale=args.guidance_scale, sample_method="euler",
                             sample_steps=args.steps, seed=args.seed, batch_count=args.batch_size,
                             progress_callback=progress)
    # Loading reports progress, too; sampling reports 0 … steps, once for each picture.
    runs = [i for i, (step, steps, _) in enumerate(at) if step == 0 and steps == args.steps]
    seconds["steps"] = [sum(at[run + k + 1][2] - at[run + k][2] for run in runs) for k in range(args.steps)]
    seconds["first_step_at"] = wall[runs[0]]
    for key, line in (("text_encode", "get_learned_condition"), ("decode", "decode_first_stage")):
        taken = re.findall(line + r" completed, taking ([0-9.]+) ?s", log.getvalue())
        if not taken:
            raise SystemExit(f"sd.cpp's log has no line of {line}:\n{log.getvalue()[-2000:]}")
        seconds[key] = float(taken[-1])
    seconds["decode"] = [seconds["decode"]]
    return seconds, {}


ENGINES = {
    "diffusers-fp32": lambda a: run_diffusers(a, "fp32", False),
    "diffusers-fp32-cl": lambda a: run_diffusers(a, "fp32", True),
    "diffusers-bf16": lambda a: run_diffusers(a, "bf16", True),
    "openvino-fp32": lambda a: run_openvino(a, "fp32"),
    "openvino-bf16": lambda a: run_openvino(a, "bf16"),
    "sdcpp-fp16": lambda a: run_sdcpp(a, False),
    "sdcpp-fp16-fa": lambda a: run_sdcpp(a, True),
}
"""Name → run. easel itself is a command; bench.py runs it directly."""


def add_arguments(parser):
    """The arguments that describe the picture; shared with bench.py."""
    parser.add_argument("--model", help="diffusers folder with weights")
    parser.add_argument("--single-file", help="the same model in fp16 as one .safetensors file, for sd.cpp")
    parser.add_argument("--prompt", default="a photo of a red balloon over green hills")
    parser.add_argument("--negative-prompt", default="")
    parser.add_argument("--steps", type=int, default=2, help="DDIM steps per run (default %(default)s)")
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=1, help="pictures at a time (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compress-to-fp16", action="store_true",
                        help="OpenVINO's files in fp16, half as large (weights made as bf16 lose nothing by it)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "convert", *ENGINES])
    add_arguments(parser)
    parser.add_argument("--work", required=True, help="folder for what the processes share")
    args = parser.parse_args()
    if args.what in ("prepare", "convert"):
        result = globals()[args.what](args)
    else:
        result, outputs = ENGINES[args.what](args)
        if outputs:
            np.savez(Path(args.work) / f"{args.what}.npz", **outputs)
    print("\n" + json.dumps(result), flush=True)
    os._exit(0)  # skip the teardown of large libraries; peak memory is what it was


if __name__ == "__main__":
    main()
