"""Names and layout of the original single files of Stable Diffusion 2 and SDXL, beside sd15_ldm.py.

    python3 tests/goldens/families_ldm.py      # after make_families.py

Written in the direction diffusers → original and checked, with the tiny models' weights, against diffusers' own
converters, which go the other way. Writes families/original_names.tsv: for each part of the models in bench/configs and of the tiny ones the
number of tensors of the original file and the SHA-256 of their list, sorted: a line
`original name <tab> shape <tab> names in diffusers, with + between what is one after the other in the tensor`.
"""

import hashlib
import json
import re

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as convert
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from make_families import HERE
from sd15_ldm import unet_name, vae_name

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT = {"sd21": {"text_encoder": "cond_stage_model.model."},
        "sdxl": {"text_encoder": "conditioner.embedders.0.transformer.text_model.",
                 "text_encoder_2": "conditioner.embedders.1.model."},
        "sdxl_refiner": {"text_encoder_2": "conditioner.embedders.0.model."}}
TEXT |= {"sd2": TEXT["sd21"], "xl": TEXT["sdxl"], "refiner": TEXT["sdxl_refiner"]}
OPEN_CLIP = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "self_attn.out_proj": "attn.out_proj"}


def unet_tensors(state, layers):
    """{original name: [diffusers names]} of a UNet, in the original layout without prefix."""
    attention = {k.split(".attentions.")[0] for k in state if ".attentions." in k}
    out = {}
    for key in state:
        if key.startswith("add_embedding.linear_"):
            name = key.replace("add_embedding.linear_1", "label_emb.0.0").replace("add_embedding.linear_2", "label_emb.0.2")
        else:
            name = unet_name(key, layers).replace("<last>", "2" if key.split(".upsamplers.")[0] in attention else "1")
        out[name] = [key]
    return out


def open_clip_tensors(state):
    out = {}
    for key in state:
        key = key.removeprefix("text_model.")
        layer = re.fullmatch(r"encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", key)
        if key == "text_projection.weight":
            out["text_projection"] = [key]
        elif key == "embeddings.position_embedding.weight":
            out["positional_embedding"] = [key]
        elif not layer:
            new = key.replace("embeddings.token_embedding", "token_embedding").replace("final_layer_norm", "ln_final")
            out[new] = [key]
        elif re.match(r"self_attn\.[qkv]_proj", layer[2]):
            name = f"transformer.resblocks.{layer[1]}.attn.in_proj_{layer[3]}"
            out[name] = [f"encoder.layers.{layer[1]}.self_attn.{p}_proj.{layer[3]}" for p in "qkv"]
        else:
            out[f"transformer.resblocks.{layer[1]}.{OPEN_CLIP[layer[2]]}.{layer[3]}"] = [key]
    return out


def tensor_of(state, name, keys):
    """The tensor of the original file."""
    state = {k.removeprefix("text_model."): v for k, v in state.items()}
    value = torch.cat([state[k] for k in keys]) if len(keys) > 1 else state[keys[0]]
    if name.endswith("text_projection"):
        value = value.T.contiguous()
    return value[:, :, None, None] if ".attn_1." in name and value.ndim == 2 else value


def original(state, table, prefix):
    return {prefix + name: tensor_of(state, name, keys) for name, keys in table.items()}


def same(got, want, what):
    want = {k.removeprefix("text_model."): v for k, v in want.items() if not k.endswith("position_ids")}
    got = {k.removeprefix("text_model."): v for k, v in got.items()}
    assert got.keys() == want.keys(), (what, got.keys() ^ want.keys())
    for key, value in want.items():
        assert torch.equal(got[key], value), (what, key)


def check_tiny(model):
    """diffusers' converters give back the tiny model's tensors."""
    def read(part):
        state = load_file(next((HERE / model / part).glob("*.safetensors")))
        config = json.loads((HERE / model / part / "config.json").read_text())
        return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, config

    state, config = read("unet")
    table = unet_tensors(state, config["layers_per_block"])
    same(convert.convert_ldm_unet_checkpoint(original(state, table, UNET), config), state, model)
    for part in ("text_encoder", "text_encoder_2"):
        if (HERE / model / part).exists() and not (model == "xl" and part == "text_encoder"):
            state, config = read(part)
            cls = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            module = cls(CLIPTextConfig(**{k: v for k, v in config.items() if k != "architectures"}))
            got = convert.convert_open_clip_checkpoint(module, original(state, open_clip_tensors(state), "x."), prefix="x.")
            same(got, state, (model, part))


def table_rows(model):
    """Lines of the table for a folder of configurations."""
    root = HERE.parent.parent.parent / model

    def config(part):
        values = json.loads((root / part / "config.json").read_text())
        return {k: v for k, v in values.items() if not k.startswith("_")}

    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**config("unet")), AutoencoderKL(**config("vae"))
        parts = {"unet": (unet.state_dict(), UNET), "vae": (vae.state_dict(), VAE)}
        for part, prefix in TEXT[model.rsplit("/", 1)[1]].items():
            values = config(part)
            cls = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}[
                values.pop("architectures")[0]]
            parts[part] = (cls(CLIPTextConfig(**values)).state_dict(), prefix)
    for part, (state, prefix) in parts.items():
        if part == "unet":
            table = unet_tensors(state, config(part)["layers_per_block"])
        elif part == "vae":
            table = {vae_name(k, 4): [k] for k in state}
        elif prefix.endswith("text_model."):
            table = {k.removeprefix("text_model."): [k.removeprefix("text_model.")] for k in state}
        else:
            table = open_clip_tensors(state)
        lines = sorted(f"{prefix}{name}\t{'x'.join(map(str, tensor_of(state, name, keys).shape))}\t{'+'.join(keys)}\n"
                       for name, keys in table.items())
        yield f"{model}\t{part}\t{len(lines)}\t{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


if __name__ == "__main__":
    for tiny in ("sd2", "xl", "refiner"):
        check_tiny(tiny)
    rows = ["# model\tpart\ttensors\tsha256 of the list"]
    for folder in [f"bench/configs/{name}" for name in ("sd21", "sdxl", "sdxl_refiner")] + [
            f"tests/goldens/families/{name}" for name in ("sd2", "xl", "refiner")]:
        rows += table_rows(folder)
    (HERE / "original_names.tsv").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))
