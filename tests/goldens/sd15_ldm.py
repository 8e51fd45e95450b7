"""Names and layout of the original single-file Stable Diffusion 1.5 checkpoints.

Written from the structure of the original network (numbered input_blocks, middle_block,
output_blocks), in the direction diffusers → original, and checked against diffusers' own
converter, which goes the other way. Run alone it writes sd15/sd15_names.tsv: every tensor
of the real, full-size model as `original name, component, diffusers name, shape`.
"""

import argparse
import re

import numpy as np
import torch

from sd15_common import HERE

UNET_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."
TEXT_PREFIX = "cond_stage_model.transformer.text_model."

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
          "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
UNET_TOP = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
            "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(key, layers):
    """Original name of a UNet tensor; `layers` is layers_per_block."""
    for new, old in UNET_TOP.items():
        if key.startswith(new + "."):
            return old + key.removeprefix(new)
    match = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key)
    if match:
        kind, i, rest = match.groups()
        position = 1 if kind == "attentions" else 2 * int(i)
        return f"middle_block.{position}.{resnet_rest(rest) if kind == 'resnets' else rest}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", key)
    side, level, kind, i, rest = match.groups()
    level, i = int(level), int(i)
    group, first = (("input_blocks", 1) if side == "down" else ("output_blocks", 0))
    block = first + level * (layers + 1)  # a group of layers + 1: down has its downsampler last
    if kind == "resnets":
        return f"{group}.{block + i}.0.{resnet_rest(rest)}"
    if kind == "attentions":
        return f"{group}.{block + i}.1.{rest}"
    if kind == "downsamplers":
        return f"{group}.{block + layers}.0.op.{rest.removeprefix('conv.')}"
    return f"{group}.{block + layers}.<last>.{rest}"  # after the attention, where there is one


def resnet_rest(rest):
    part, leaf = rest.rsplit(".", 1)
    return f"{RESNET[part]}.{leaf}"


def vae_name(key, levels):
    """Original name of a VAE tensor. The decoder's `up` counts from the finest level."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    match = re.fullmatch(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d)\.(.*)", key)
    if match:
        side, kind, i, rest = match.groups()
        if kind == "resnets":
            return f"{side}.mid.block_{int(i) + 1}.{rest}"
        part, leaf = rest.rsplit(".", 1)
        return f"{side}.mid.attn_1.{VAE_ATTENTION[part]}.{leaf}"
    match = re.fullmatch(r"(encoder|decoder)\.(down|up)_blocks\.(\d)\.(resnets|\w+samplers)\.(\d)\.(.*)", key)
    if not match:
        return key
    side, way, level, kind, i, rest = match.groups()
    level = int(level) if way == "down" else levels - 1 - int(level)
    if kind == "resnets":
        return f"{side}.{way}.{level}.block.{i}.{rest}"
    return f"{side}.{way}.{level}.{kind.removesuffix('rs')}.{rest}"  # downsample, upsample


def named_tensors(unet, vae, text):
    """Yields (original name, component, diffusers name, tensor in the original layout)."""
    layers = unet.config.layers_per_block
    attention = {k.split(".attentions.")[0] for k in unet.state_dict() if ".attentions." in k}
    for key, value in unet.state_dict().items():
        name = unet_name(key, layers)
        has_attention = key.split(".upsamplers.")[0] in attention
        yield UNET_PREFIX + name.replace("<last>", "2" if has_attention else "1"), "unet", key, value
    for key, value in vae.state_dict().items():
        if ".attentions." in key and key.endswith("weight") and value.ndim == 2:
            value = value[:, :, None, None]  # the original's q, k, v, proj_out are 1x1 convolutions
        yield VAE_PREFIX + vae_name(key, len(vae.config.block_out_channels)), "vae", key, value
    for key, value in text.state_dict().items():
        yield TEXT_PREFIX + key.removeprefix("text_model."), "text_encoder", key, value


def to_ldm(unet, vae, text, scheduler):
    """The state dict of a single file: the networks, position ids, and the training schedule."""
    state = {name: value for name, _, _, value in named_tensors(unet, vae, text)}
    state[TEXT_PREFIX + "embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    n = scheduler["num_train_timesteps"]
    betas = np.linspace(scheduler["beta_start"] ** 0.5, scheduler["beta_end"] ** 0.5, n) ** 2
    state["betas"] = torch.tensor(betas, dtype=torch.float32)
    state["alphas_cumprod"] = torch.tensor(np.cumprod(1 - betas), dtype=torch.float32)
    return state


def check_against_diffusers(state, unet, vae, text):
    """Raises unless diffusers' converters give back exactly the tensors of the modules."""
    from diffusers.loaders import single_file_utils as convert

    def same(got, want, what):
        want = {k.removeprefix("text_model."): v for k, v in want.items()}
        got = {k.removeprefix("text_model."): v for k, v in got.items() if not k.endswith("position_ids")}
        assert got.keys() == want.keys(), (what, got.keys() ^ want.keys())
        for key, value in want.items():
            assert torch.equal(got[key], value), (what, key)

    same(convert.convert_ldm_unet_checkpoint(dict(state), dict(unet.config)), unet.state_dict(), "unet")
    same(convert.convert_ldm_vae_checkpoint(dict(state), dict(vae.config)), vae.state_dict(), "vae")
    same(convert.convert_ldm_clip_checkpoint(dict(state)), text.state_dict(), "text")


def write_full_names(path):
    """Writes the names and shapes of the real SD1.5; no weights are made (meta device)."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8, sample_size=64)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4)
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                            num_attention_heads=12))
    rows = [f"{name}\t{component}\t{key}\t{'x'.join(map(str, value.shape))}"
            for name, component, key, value in named_tensors(unet, vae, text)]
    path.write_text("\n".join(["# original\tcomponent\tdiffusers\tshape in the original", *rows]) + "\n")
    return len(rows)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(write_full_names(HERE / "sd15_names.tsv"), "names")
