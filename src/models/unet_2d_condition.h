// The denoising UNet of the Stable Diffusion family.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "nn/var.h"

namespace easel::models {

/// What one resolution level is made of.
struct UNetLevel {
  int64_t channels = 320;
  int layers = 2;  ///< residual blocks on the way down; one more on the way up
  /// Transformer blocks after each residual block on either way, 0 for none; empty: a plain block without attention.
  std::vector<int> attention_down = {}, attention_up = {};
  int heads = 8;
  bool only_cross_attention = false;

  /// The same number of transformer blocks everywhere; 0: plain blocks.
  void set_attention(int depth) {
    attention_down.assign(depth ? static_cast<size_t>(layers) : 0, depth);
    attention_up.assign(depth ? static_cast<size_t>(layers) + 1 : 0, depth);
  }
};

enum class ClassEmbedding { none, table, timestep, projection, simple_projection, identity };
enum class AddedEmbedding { none, text_time };

/// As in config.json of a UNet2DConditionModel, level by level.
struct UNet2DConditionConfig {
  int64_t in_channels = 4;
  int64_t out_channels = 4;
  int64_t cross_attention_dim = 768;
  std::vector<UNetLevel> levels;
  bool mid_block = true;
  int mid_attention_layers = 1;  ///< between two residual blocks; 0: one residual block alone
  int mid_heads = 8;
  bool use_linear_projection = false;
  int norm_num_groups = 32;
  double norm_eps = 1e-5;
  nn::Activation act_fn = nn::Activation::silu;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  int downsample_padding = 1;
  double mid_block_scale_factor = 1;
  bool time_scale_shift = false;
  bool center_input_sample = false;
  int conv_in_kernel = 3, conv_out_kernel = 3;
  ClassEmbedding class_embed_type = ClassEmbedding::none;
  int64_t num_class_embeds = 0;
  int64_t projection_class_embeddings_input_dim = 0;
  AddedEmbedding addition_embed_type = AddedEmbedding::none;
  int addition_time_embed_dim = 256;
  int64_t pooled_dim = 0;          ///< width of text_embeds with text_time
  int64_t time_cond_proj_dim = 0;  ///< width of timestep_cond; 0: there is none

  /// Sizes and crops that time_ids holds: 6, or 5 where an aesthetic score stands for the target size.
  int64_t time_ids() const {
    return (projection_class_embeddings_input_dim - pooled_dim) / std::max(addition_time_embed_dim, 1);
  }
};

/// What a variant of the network does beside. Weights and their packed forms are the same.
struct UNet2DConditionVariant {
  /// Perturbed attention guidance (Ahn et al. 2024): self-attention layers whose name one of these is found in ("mid",
  /// "down_blocks.2", "up_blocks.1.attentions.0"; a dot stands for any character) give their values instead of
  /// attention in the rows where the input `perturbation` [B, 1, 1] f32 (request) is 1; elsewhere it is 0.
  std::vector<std::string> perturbed_layers;
  /// FreeU (Si et al. 2023): in the first and second block of the way up, the first half of the channels is multiplied
  /// by b1 and b2, and the lowest frequencies of the skip by s1 and s2: input `freeu` [4] f32 (request), b1 b2 s1 s2.
  bool freeu = false;
  /// Image prompts (IP-Adapter: Ye et al. 2023), so many: attention to the text sees the tokens of pictures as well,
  /// through matrices named by ip_adapter_key_weight() and ip_adapter_value_weight(). Inputs for each i from 0:
  /// `ip_hidden_states.i` [B, ip_tokens.i, cross_attention_dim] f32 (request; the count is a symbol) and `ip_scale.i`
  /// [number of cross_attention_layers()] f32 (schedule).
  size_t image_prompts = 0;
  bool operator==(const UNet2DConditionVariant&) const = default;
};

/// Inputs (symbols batch, height, width in latents, tokens):
///   sample [B, in, H, W] f32 (step), timestep [B] f32 in training steps (schedule),
///   encoder_hidden_states [B, T, cross_attention_dim] f32 (request),
///   class_labels where the model is class-conditional: [B] i32 for a table, [B] f32 timesteps, or [B, D] f32
///   (request), text_embeds [B, pooled_dim] and time_ids [B, n] f32 with added embeddings (request), timestep_cond
///   [B, time_cond_proj_dim] f32 (request): the guidance scale as guidance_scale_embedding() has it.
/// Output: noise_pred [B, out, H, W] f32. Any H and W: uneven sizes are rounded up on the way down.
/// and those of the variant.
/// Throws invalid_argument for a configuration that does not fit together, or a perturbed layer that is not there.
/// Ronneberger et al. 2015; Podell et al. 2023 (added embeddings); Luo et al. 2023 (timestep_cond);
/// Rombach et al. 2022 (diffusers' UNet2DConditionModel).
graph::Graph unet_2d_condition(const UNet2DConditionConfig& config, const UNet2DConditionVariant& variant = {});

/// What a network that was distilled with guidance is told of its scale: [sin(1000 w f), cos(1000 w f)] with w the
/// scale − 1 and f = 10000^(−i/(dim/2 − 1)), and a 0 where dim is odd. Luo et al. 2023, "Latent Consistency Models".
std::vector<float> guidance_scale_embedding(double guidance_scale, int64_t dim);

}  // namespace easel::models
