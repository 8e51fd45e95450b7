"""Makes the goldens of the tiny autoencoder: tests/goldens/taesd.

    python3 tests/goldens/make_taesd.py     # after make_sd15.py, whose model a it reads

    tiny/                     an AutoencoderTiny as diffusers saves it, random weights in float16
    taesd_decoder.safetensors, taesd_encoder.pth   its halves in the names of the original program
    taesd_single.safetensors  both in one file, in the names that ComfyUI gives them
    goldens.safetensors       latents and picture, in and out; of the true size (seeded weights, see make_upscalers.py)
                              `true.*`; `pipeline.*`: model a with this decoder, latents to start from and picture
    index.json                the random noise of each output (weights times 1 ± 2⁻²¹)
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from make_upscalers import seed_of, seeded
from sd15_common import jitter, randomize, relative_l2

HERE = Path(__file__).resolve().parent / "taesd"


def noise(name, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed_of(name)))


def main():
    HERE.mkdir(exist_ok=True)
    tensors, index = {}, {}

    def run(name, vae, latents, picture):
        with torch.no_grad():
            decoded, encoded = vae.decode(latents).sample, vae.encode(picture).latents
            old = jitter(vae, 3)
            moved, coded = vae.decode(latents).sample, vae.encode(picture).latents
            vae.load_state_dict(old)
        tensors.update({f"{name}.latents": latents, f"{name}.decoded": decoded, f"{name}.picture": picture,
                        f"{name}.encoded": encoded})
        index[name] = {"decoded": float(f"{relative_l2(moved, decoded):.2e}"),
                       "encoded": float(f"{relative_l2(coded, encoded):.2e}")}

    # Every number differs from the default and from the others.
    tiny = AutoencoderTiny(encoder_block_out_channels=(6, 6, 6, 6), decoder_block_out_channels=(10, 10, 10, 10),
                           num_encoder_blocks=(1, 2, 1, 1), num_decoder_blocks=(2, 1, 2, 1), scaling_factor=0.9)
    randomize(tiny, 11, torch.float16)
    tiny.half().save_pretrained(HERE / "tiny")
    tiny.float()
    state = load_file(str(HERE / "tiny" / "diffusion_pytorch_model.safetensors"))
    # The original decoder begins with a clamp, which counts.
    decoder, encoder = {}, {}
    for key, value in state.items():
        part, _, number, rest = key.split(".", 3)
        if part == "decoder":
            decoder[f"{int(number) + 1}.{rest}"] = value
        else:
            encoder[f"{number}.{rest}"] = value
    save_file(decoder, str(HERE / "taesd_decoder.safetensors"))
    torch.save(encoder, HERE / "taesd_encoder.pth")
    save_file({f"taesd_decoder.{k}": v for k, v in decoder.items()} | {f"taesd_encoder.{k}": v for k, v in encoder.items()}
              | {"vae_scale": torch.tensor(0.9)}, str(HERE / "taesd_single.safetensors"))

    run("tiny", tiny.eval(), 2 * noise("tiny.latents", 2, 4, 5, 7), noise("tiny.picture", 1, 3, 40, 24).clamp(-1, 1))
    true = AutoencoderTiny().eval()
    true.load_state_dict({k: seeded(k, tuple(v.shape)) for k, v in true.state_dict().items()})
    run("true", true, noise("true.latents", 1, 4, 6, 5), noise("true.picture", 1, 3, 48, 40).clamp(-1, 1))

    pipe = StableDiffusionPipeline.from_pretrained(HERE.parent / "sd15" / "a", torch_dtype=torch.float32,
                                                   safety_checker=None, feature_extractor=None)
    pipe.vae = tiny
    pipe.set_progress_bar_config(disable=True)
    latents = noise("pipeline.latents", 1, 4, 5, 7)
    with torch.no_grad():
        last = pipe("a red balloon", num_inference_steps=3, guidance_scale=5, latents=latents.clone(), height=40,
                    width=56, output_type="latent").images
        decoded = pipe.vae.decode(last / pipe.vae.config.scaling_factor).sample
    tensors |= {"pipeline.latents": latents, "pipeline.last": last, "pipeline.decoded": decoded}
    save_file({k: v.contiguous() for k, v in tensors.items()}, str(HERE / "goldens.safetensors"))
    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    print(index, decoded.std())


if __name__ == "__main__":
    main()
