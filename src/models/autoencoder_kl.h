// The variational autoencoder between pictures and latents.
#pragma once

#include <vector>

#include "graph/graph.h"
#include "nn/var.h"

namespace easel::models {

/// As in config.json of an AutoencoderKL.
struct AutoencoderKLConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  std::vector<int64_t> block_out_channels = {128, 256, 512, 512};
  int layers_per_block = 2;
  int norm_num_groups = 32;
  bool use_quant_conv = true;
  bool use_post_quant_conv = true;
  bool mid_block_add_attention = true;
  double scaling_factor = 0.18215;  ///< latents of the diffusion model = (VAE latents − shift_factor) · scaling_factor
  double shift_factor = 0.0;
  /// By channel, where a model has them: latents = (VAE latents − mean) · scaling_factor / std.
  std::vector<double> latents_mean, latents_std;

  /// VAE latents of a channel = latents / scale + shift.
  struct LatentScale {
    float scale, shift;
  };
  LatentScale latent_scale(size_t channel) const {
    if (latents_std.empty()) return {static_cast<float>(scaling_factor), static_cast<float>(shift_factor)};
    return {static_cast<float>(scaling_factor / latents_std[channel]), static_cast<float>(latents_mean[channel])};
  }

  /// Pixels per latent along one axis.
  int64_t downscale() const { return int64_t{1} << (block_out_channels.size() - 1); }
};

/// sample: [B, in_channels, H, W] f32 in −1 … 1 (symbols batch, height, width; in pixels)
/// → moments: [B, 2·latent_channels, H/8, W/8] f32: mean, then log variance.
/// Kingma & Welling 2014; the architecture of Esser et al. 2021, as trained in Rombach et al. 2022.
graph::Graph autoencoder_kl_encoder(const AutoencoderKLConfig& config);

/// latents: [B, latent_channels, h, w] f32, VAE scale (symbols batch, height, width; in latents)
/// → decoded: [B, out_channels, 8·h, 8·w] f32, about −1 … 1, not clamped.
graph::Graph autoencoder_kl_decoder(const AutoencoderKLConfig& config);

}  // namespace easel::models
