// The transformer layers that CLIP's two towers share.
#pragma once

#include "nn/layers.h"

namespace easel::models {

/// Sizes of a layer, as in config.json of a CLIPTextModel or CLIPVisionModel.
struct ClipEncoderLayer {
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int num_attention_heads = 12;
  double layer_norm_eps = 1e-5;
  nn::Activation hidden_act = nn::Activation::quick_gelu;
  bool causal = false;  ///< a token sees only those before it: the text
};

/// x + self_attn(layer_norm1(x)), then x + mlp(layer_norm2(x)). x: [B, S, hidden_size] → [B, S, hidden_size].
/// transformers' CLIPEncoderLayer.
nn::Var clip_encoder_layer(const nn::Scope& s, nn::Var x, const ClipEncoderLayer& layer);

}  // namespace easel::models
