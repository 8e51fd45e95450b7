// CLIP's image encoder: a transformer over the patches of a picture.
#pragma once

#include "graph/graph.h"
#include "nn/var.h"

namespace easel::models {

/// As in config.json of a CLIPVisionModelWithProjection. Defaults are those of ViT-B/32 (transformers').
struct ClipVisionConfig {
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int num_hidden_layers = 12;
  int num_attention_heads = 12;
  int64_t num_channels = 3;
  int64_t image_size = 224;  ///< pixels a side
  int patch_size = 32;       ///< likewise
  double layer_norm_eps = 1e-5;
  nn::Activation hidden_act = nn::Activation::quick_gelu;
  int64_t projection_dim = 512;

  /// Patches and the class token before them.
  int64_t tokens() const { return (image_size / patch_size) * (image_size / patch_size) + 1; }
};

enum class ClipVisionOutput {
  image_embeds,  ///< visual_projection(post_layernorm(the class token's state after all layers)): [1, projection_dim]
  penultimate_states  ///< the states before the last layer, hidden_states[-2]: [1, tokens(), hidden_size]
};

/// pixel_values: [1, num_channels, image_size, image_size] f32, normalized (see pipelines/clip_image.h; request) →
/// image_embeds or penultimate_states, f32. One picture at a time. Weight names as transformers saves them.
/// Throws invalid_argument for sizes that do not go together.
/// Radford et al. 2021; Dosovitskiy et al. 2020; transformers' CLIPVisionModelWithProjection.
graph::Graph clip_vision_model(const ClipVisionConfig& config, ClipVisionOutput output);

}  // namespace easel::models
