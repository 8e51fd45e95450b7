// IP-Adapter: pictures as prompts. Their features become tokens that the UNet attends to beside those of the text.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "models/unet_2d_condition.h"

namespace easel::models {

/// How features of a picture become tokens.
enum class IpAdapterKind {
  plain,  ///< one linear layer from the projected class token, image_embeds
  plus,   ///< a perceiver resampler over the states of all patches
  full    ///< two linear layers for each of these states
};

/// Sizes of the part of the file that makes tokens; all can be read off its tensors.
struct IpAdapterConfig {
  IpAdapterKind kind = IpAdapterKind::plain;
  int64_t image_dim = 1024;           ///< of the features: the encoder's projection_dim (plain) or hidden_size
  int64_t tokens = 4;                 ///< per picture; full: 0, as many as the encoder has
  int64_t cross_attention_dim = 768;  ///< of a token
  // Of the resampler (plus) …
  int64_t hidden_dim = 768;
  int heads = 12;
  int depth = 4;
  // … and of the layers within it or (full) by themselves.
  int64_t feed_forward_dim = 3072;
};

/// features: plain: [1, image_dim]; plus and full: [1, states, image_dim] f32 (request) → tokens:
/// [1, T, cross_attention_dim] f32, T being config.tokens, or `states` for full. Weights below "image_proj." as in the
/// published files.
///   plain: layer_norm(reshape(linear(x), [T, D]))
///   plus:  z ← latents; per layer z ← z + attention(z, [x, z]), z ← z + mlp(z); layer_norm(linear(z))
///   full:  layer_norm(linear(gelu(linear(x))))
/// Ye et al. 2023, "IP-Adapter: Text Compatible Image Prompt Adapter"; Jaegle et al. 2021 (perceiver); diffusers'
/// ImageProjection, IPAdapterPlusImageProjection and IPAdapterFullImageProjection.
graph::Graph ip_adapter_tokens(const IpAdapterConfig& config, int64_t states);

/// One cross-attention of a UNet that image prompts act in.
struct CrossAttentionLayer {
  std::string name;  ///< "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
  int64_t channels = 0;
};

/// All of them in the order in which IP-Adapter files number them (1, 3, 5, …): the way down, the way up, the middle.
std::vector<CrossAttentionLayer> cross_attention_layers(const UNet2DConditionConfig& config);

/// The names by which a UNet's graph reads the two matrices of adapter `slot` for a layer; no model file holds them.
std::string ip_adapter_key_weight(size_t slot, const std::string& layer);
std::string ip_adapter_value_weight(size_t slot, const std::string& layer);

/// What the cross-attentions of a UNet are given of image prompts, one entry per adapter.
struct ImagePromptInputs {
  std::vector<nn::Var> tokens;           ///< [B, T, D]
  std::vector<nn::Var> scales;           ///< [number of layers]
  std::map<std::string, int64_t> layer;  ///< the place of each layer, by name
};

/// Σ scaleᵢ · attention(q, tokensᵢ · W_kᵢ, tokensᵢ · W_vᵢ), to be added to the attention over the text.
/// q: [B, S, C] → [B, S, C]. layer: the attention's name.
nn::Var image_attention(const nn::Var& q, const ImagePromptInputs& images, const std::string& layer, int heads);

}  // namespace easel::models
