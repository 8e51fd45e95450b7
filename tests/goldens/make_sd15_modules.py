"""Makes the per-module goldens of the Stable Diffusion 1.5 networks: inputs and outputs.

    python3 tests/goldens/make_sd15_modules.py    # after make_sd15.py, whose models it reads

What a picture hides (an eps, an odd size, one block's order) shows here. Writes
sd15/modules/*.safetensors with tensors `in.*`, `out.*` and, for modules outside the
models, `weight.*` (names as in the module); sd15/modules.json lists them. See README.md.
"""

import argparse
import shutil

import diffusers
import torch
import transformers
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from transformers import CLIPTokenizer

import make_sd15
from sd15_common import HERE, generator_for, jitter, randomize, relative_l2, save_tensors, write_json

OUT = HERE / "modules"


def noise(name, *shape, scale=1.0):
    """Seeded normal noise; the seed is the name."""
    return scale * torch.randn(shape, generator=generator_for(name, 5))


class Recorder:
    """Runs modules plain and jittered, writes their files and collects the index."""

    def __init__(self):
        self.entries = []

    def add(self, name, kind, inputs, run, module=None, source=None, **config):
        """Records `run(**inputs) -> {name: tensor}`.

        With `module` alone its weights go into the file; with `source` ({"model", "component",
        "module"} or {"folder"}) they are those of a fixture. `config` says how the module is built.
        """
        with torch.no_grad():
            outputs = {k: v.clone() for k, v in run(**inputs).items()}
            jittered = {}
            if module is not None:
                old = jitter(module, 3)
                jittered = {k: float(f"{relative_l2(v, outputs[k]):.2e}") for k, v in run(**inputs).items()}
                module.load_state_dict(old)
        tensors = {f"in.{k}": v for k, v in inputs.items()} | {f"out.{k}": v for k, v in outputs.items()}
        if source is None and module is not None:
            tensors |= {f"weight.{k}": v.half() for k, v in module.state_dict().items()}
            for key, value in module.state_dict().items():
                assert torch.equal(value, value.half().float()), (name, key)
        save_tensors(OUT / f"{name}.safetensors", tensors)
        self.entries.append({
            "name": name, "kind": kind, "file": f"modules/{name}.safetensors", "source": source or "file",
            "config": config, "inputs": list(inputs), "outputs": list(outputs), "jitter": jittered})
        worst = max(jittered.values(), default=0)
        print(f"{name:32} {len(outputs)} outputs, jitter {worst:.1e}")
        assert worst < 1e-5, name


def record_blocks(module, names):
    """Hooks that keep the outputs of submodules. Returns (dict to be filled, handles)."""
    seen, handles = {}, []
    for name in names:
        def keep(_module, _inputs, output, name=name):
            if isinstance(output, tuple):
                output = output[0]
            seen[name] = output.clone()
        handles.append(module.get_submodule(name).register_forward_hook(keep))
    return seen, handles


def with_blocks(module, names, call):
    """Runs `call` and returns its result dict plus the outputs of the named submodules."""
    seen, handles = record_blocks(module, names)
    result = call()
    for handle in handles:
        handle.remove()
    return {**{f"block.{k}": v for k, v in seen.items()}, **result}


# ---- Modules of the models -----------------------------------------------------------


def text_goldens(rec, model, pipe):
    """Four prompts of different lengths: pooled output of all, last states of 0 and 2, all states of 0."""
    tokenizer = CLIPTokenizer.from_pretrained(HERE / model / "tokenizer")
    prompts = [make_sd15.PROMPT, "", make_sd15.LONG, "wow! it's 42° über  all"]
    ids = tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids

    def run(input_ids):
        out = pipe.text_encoder(input_ids, output_hidden_states=True)
        states = {f"hidden_states.{i}": h[:1] for i, h in enumerate(out.hidden_states)}  # before final_layer_norm
        return {**states, "last_hidden_state": out.last_hidden_state[:3:2], "pooled": out.pooler_output}

    rec.add(f"{model}_text_encoder", "CLIPTextModel", {"input_ids": ids}, run, pipe.text_encoder,
            {"model": model, "component": "text_encoder"})


def unet_goldens(rec, model, unet, timesteps):
    """The UNet's output, and every block's for the first timestep, batch 2, odd latents 9x7."""
    width = unet.config.cross_attention_dim
    blocks = ["conv_in", "time_embedding"] + [
        n for n, _ in unet.named_modules() if n.count(".") == 1 and n.startswith(("down_blocks", "up_blocks"))
    ] + ["mid_block"]
    for i, t in enumerate(timesteps):
        inputs = {"sample": noise(f"{model}{i}", 2, 4, 7, 9), "timestep": torch.tensor([float(t)]),
                  "encoder_hidden_states": noise(f"{model}h{i}", 2, 77, width)}

        def run(sample, timestep, encoder_hidden_states):
            def call():
                return {"sample": unet(sample, timestep[0], encoder_hidden_states).sample}
            return with_blocks(unet, blocks if i == 0 else [], call)

        rec.add(f"{model}_unet_t{t}", "UNet2DConditionModel", inputs, run, unet,
                {"model": model, "component": "unet"})


def vae_goldens(rec, model, vae):
    """The encoder's mean and log-variance (before and after the clamp) and the decoder's blocks."""
    inputs = {"picture": noise(f"{model}p", 1, 3, 40, 56).clamp(-1, 1)}

    def encode(picture):
        dist = vae.encode(picture).latent_dist
        return {"mean": dist.mean, "logvar": dist.logvar, "std": dist.std}

    rec.add(f"{model}_vae_encoder", "AutoencoderKL.encode", inputs, encode, vae, {"model": model, "component": "vae"})

    blocks = ["post_quant_conv", "decoder.conv_in", "decoder.mid_block.resnets.0",
              "decoder.mid_block.attentions.0", "decoder.mid_block", "decoder.up_blocks.0"]

    def decode(latents):
        return with_blocks(vae, blocks, lambda: {"picture": vae.decode(latents).sample})

    rec.add(f"{model}_vae_decoder", "AutoencoderKL.decode", {"latents": noise(f"{model}l", 1, 4, 5, 4)}, decode, vae,
            {"model": model, "component": "vae"})
    attention = vae.encoder.mid_block.attentions[0]
    channels = attention.group_norm.num_channels
    rec.add(f"{model}_vae_mid_attention", "Attention", {"hidden_states": noise(f"{model}m", 2, channels, 5, 7)},
            lambda hidden_states: {"hidden_states": attention(hidden_states)}, attention,
            {"model": model, "component": "vae", "module": "encoder.mid_block.attentions.0"},
            heads=1, groups=attention.group_norm.num_groups, eps=1e-6, residual=True)


# ---- Modules of their own ------------------------------------------------------------


def small(module, seed=6):
    """Random weights that are float16 numbers, and few different ones; see sd15_common."""
    return randomize(module, seed, torch.float16, step=0.25)


def resnet_goldens(rec):
    """ResnetBlock2D. The input is small (std 0.01): with another eps the output differs."""
    for name, cin, cout, temb, eps, groups in [
            ("resnet_shortcut", 12, 20, 16, 1e-5, 4), ("resnet_same", 18, 18, 16, 1e-5, 9),
            ("resnet_vae", 10, 10, None, 1e-6, 5), ("resnet_vae_shortcut", 12, 9, None, 1e-6, 3)]:
        module = small(ResnetBlock2D(in_channels=cin, out_channels=cout, temb_channels=temb, groups=groups, eps=eps))
        inputs = {"hidden_states": noise(name, 2, cin, 5, 7, scale=0.01)}
        if temb:
            inputs["temb"] = noise(name + "t", 2, temb)
        rec.add(name, "ResnetBlock2D", inputs,
                lambda hidden_states, temb=None, m=module: {"hidden_states": m(hidden_states, temb)}, module,
                in_channels=cin, out_channels=cout, temb_channels=temb, groups=groups, eps=eps)


def transformer_goldens(rec):
    """Transformer2DModel, with 1x1 convolutions and with linear layers, one and two blocks."""
    for name, linear, layers in [("transformer_conv", False, 1), ("transformer_linear", True, 2)]:
        config = dict(num_attention_heads=2, attention_head_dim=8, in_channels=16, num_layers=layers,
                      cross_attention_dim=12, norm_num_groups=4, use_linear_projection=linear)
        module = small(Transformer2DModel(**config))
        inputs = {"hidden_states": noise(name, 2, 16, 5, 7, scale=0.3),
                  "encoder_hidden_states": noise(name + "e", 2, 77, 12)}
        rec.add(name, "Transformer2DModel", inputs,
                lambda hidden_states, encoder_hidden_states, m=module:
                    {"hidden_states": m(hidden_states, encoder_hidden_states).sample},
                module, **config, norm_eps=1e-6, layer_norm_eps=1e-5)


def attention_goldens(rec):
    """Attention with SD1.5's own head size 40, self and cross; logits large enough to matter."""
    for name, heads, size, context in [("attention_self_2x40", 2, 40, None), ("attention_cross_2x40", 2, 40, 24),
                                       ("attention_cross_3x8", 3, 8, 10)]:
        width = heads * size
        module = small(Attention(query_dim=width, cross_attention_dim=context, heads=heads, dim_head=size))
        with torch.no_grad():
            module.to_q.weight.mul_(2)
        inputs = {"hidden_states": noise(name, 1, 35, width)}
        if context:
            inputs["encoder_hidden_states"] = noise(name + "e", 1, 77, context)
        rec.add(name, "Attention", inputs,
                lambda hidden_states, encoder_hidden_states=None, m=module:
                    {"hidden_states": m(hidden_states, encoder_hidden_states)},
                module, heads=heads, dim_head=size, query_dim=width, cross_attention_dim=context, residual=False)


def resize_goldens(rec):
    """Downsample2D (UNet: padding 1; VAE: pad right and bottom) and Upsample2D to odd sizes."""
    for padding in (1, 0):
        module = small(Downsample2D(6, use_conv=True, out_channels=6, padding=padding, name="op"))
        module = small(module)
        for h, w in ((7, 9), (8, 6)):
            name = f"downsample_padding_{padding}_{h}x{w}"
            rec.add(name, "Downsample2D", {"hidden_states": noise(name, 1, 6, h, w)},
                    lambda hidden_states, m=module: {"hidden_states": m(hidden_states)}, module,
                    channels=6, padding=padding, stride=2)
    module = small(Upsample2D(6, use_conv=True, out_channels=6))
    for h, w in ((8, 10), (7, 9)):
        name = f"upsample_{h}x{w}"
        rec.add(name, "Upsample2D", {"hidden_states": noise(name, 1, 6, 4, 5)},
                lambda hidden_states, m=module, size=(h, w): {"hidden_states": m(hidden_states, size)}, module,
                channels=6, output_size=[h, w])


def embedding_goldens(rec, unet):
    """Sinusoidal timestep embeddings, and the two linear layers of model a after them."""
    t = torch.tensor([0.0, 1.0, 0.5, 13.7, 261.0, 980.25, 999.0])
    for name, dim, flip, shift, scale in [
            ("timestep_sd", 24, True, 0, 1), ("timestep_ddpm", 32, False, 1, 1), ("timestep_odd", 15, True, 0, 1),
            ("timestep_320", 320, True, 0, 1), ("timestep_scale_1000", 16, True, 0, 1000)]:
        rec.add(name, "get_timestep_embedding", {"timesteps": t},
                lambda timesteps, a=(dim, flip, shift, scale): {"embedding": get_timestep_embedding(
                    timesteps, a[0], flip_sin_to_cos=a[1], downscale_freq_shift=a[2], scale=a[3])},
                embedding_dim=dim, flip_sin_to_cos=flip, downscale_freq_shift=shift, scale=scale, max_period=10000)
    rec.add("a_time_embedding", "TimestepEmbedding", {"timesteps": t},
            lambda timesteps: {"embedding": unet.time_embedding(unet.time_proj(timesteps))}, unet.time_embedding,
            {"model": "a", "component": "unet", "module": "time_embedding"})


def norm_goldens(rec):
    """GroupNorm and LayerNorm on small inputs, where eps is a visible part of the variance."""
    for eps in (1e-5, 1e-6):
        module = small(torch.nn.GroupNorm(3, 12, eps=eps))
        name = f"group_norm_{eps:g}"
        x = noise("gn", 2, 12, 5, 7, scale=0.003) + 0.01 * noise("gnc", 1, 12, 1, 1)
        rec.add(name, "GroupNorm", {"x": x}, lambda x, m=module: {"y": m(x)}, module, groups=3, channels=12, eps=eps)
    module = small(torch.nn.LayerNorm(27, eps=1e-5))
    rec.add("layer_norm_1e-05", "LayerNorm", {"x": noise("ln", 2, 5, 27, scale=0.003)},
            lambda x: {"y": module(x)}, module, width=27, eps=1e-5)
    # A large mean: the variance must not be computed as E[x²] − E[x]² in float32.
    for name, module, shape in [("group_norm_large_mean", torch.nn.GroupNorm(3, 12), (1, 12, 8, 8)),
                                ("layer_norm_large_mean", torch.nn.LayerNorm(64), (5, 64))]:
        module = small(module)
        x = (noise(name, *shape) + 64).to(torch.float16).float()  # few bits: the float32 sum stays exact enough
        rec.add(name, module.__class__.__name__, {"x": x}, lambda x, m=module: {"y": m(x)}, module,
                eps=1e-5, **({"groups": 3, "channels": 12} if len(shape) == 4 else {"width": 64}))


# ---- UNets driven by their config ----------------------------------------------------

BASE = dict(sample_size=8, block_out_channels=(8, 12), layers_per_block=1, attention_head_dim=2, norm_num_groups=4,
            cross_attention_dim=10, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
UNETS = {
    "unet_class_labels": dict(BASE, num_class_embeds=7),
    # SDXL's ways: plain first level, depth and heads per level, size embeddings; and a class "time".
    "unet_text_time": dict(
        BASE, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), use_linear_projection=True,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=[1, 2],
        attention_head_dim=[2, 3], addition_embed_type="text_time", addition_time_embed_dim=4, class_embed_type="timestep",
        projection_class_embeddings_input_dim=6 * 4 + 5),
    # Three levels, the first without attention, and a projected class vector.
    "unet_three_levels": dict(
        BASE, block_out_channels=(8, 8, 12), attention_head_dim=[1, 2, 3], class_embed_type="projection",
        projection_class_embeddings_input_dim=6,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")),
}


def config_unet_goldens(rec):
    """Whole small UNets, each in a folder of its own (float16 weights)."""
    for name, config in UNETS.items():
        unet = small(UNet2DConditionModel(**config), seed=8)
        shutil.rmtree(OUT / name, ignore_errors=True)
        unet.half().save_pretrained(OUT / name)
        (OUT / name / "diffusion_pytorch_model.safetensors").chmod(0o644)
        unet.float()
        inputs = {"sample": noise(name, 2, 4, 6, 5), "timestep": torch.tensor([441.0]),
                  "encoder_hidden_states": noise(name + "e", 2, 77, 10)}
        if "labels" in name:
            inputs["class_labels"] = torch.tensor([2, 6])
        elif "three_levels" in name:
            inputs["class_labels"] = noise(name + "c", 2, 6)
        else:
            inputs["class_labels"] = torch.tensor([20.0, 350.0])
            inputs["text_embeds"] = noise(name + "p", 2, 5)
            inputs["time_ids"] = torch.tensor([[64.0, 48, 0, 0, 64, 48], [64, 48, 8, 0, 56, 48]])

        def run(sample, timestep, encoder_hidden_states, class_labels=None, **added):
            return {"sample": unet(sample, timestep[0], encoder_hidden_states, class_labels=class_labels,
                                   added_cond_kwargs=added or None).sample}

        rec.add(name, "UNet2DConditionModel", inputs, run, unet, {"folder": f"modules/{name}"})


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    shutil.rmtree(OUT, ignore_errors=True)
    rec = Recorder()
    for model, timesteps in (("a", (261, 13.7)), ("b", (999,))):
        pipe = StableDiffusionPipeline.from_pretrained(HERE / model, dtype=torch.float32, local_files_only=True)
        for part in (pipe.unet, pipe.vae, pipe.text_encoder):
            part.float().eval()
        text_goldens(rec, model, pipe)
        unet_goldens(rec, model, pipe.unet, timesteps)
        vae_goldens(rec, model, pipe.vae)
        if model == "a":
            embedding_goldens(rec, pipe.unet)
    resnet_goldens(rec)
    transformer_goldens(rec)
    attention_goldens(rec)
    resize_goldens(rec)
    norm_goldens(rec)
    config_unet_goldens(rec)
    write_json(HERE / "modules.json", {"modules": rec.entries})


if __name__ == "__main__":
    main()
