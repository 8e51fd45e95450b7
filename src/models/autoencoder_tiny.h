// The tiny autoencoder TAESD: a small stand-in for the variational autoencoder, for previews and speed.
#pragma once

#include <vector>

#include "graph/graph.h"
#include "nn/var.h"

namespace easel::models {

/// As in config.json of an AutoencoderTiny.
struct AutoencoderTinyConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t latent_channels = 4;
  int64_t encoder_channels = 64;  ///< encoder_block_out_channels, the same on all levels
  int64_t decoder_channels = 64;
  std::vector<int> num_encoder_blocks = {1, 3, 3, 3};  ///< from pixels to latents
  std::vector<int> num_decoder_blocks = {3, 3, 3, 1};  ///< from latents to pixels
  nn::Activation act_fn = nn::Activation::relu;
  int upsampling_scaling_factor = 2;
  double scaling_factor = 1.0;  ///< latents of the diffusion model = (these latents − shift_factor) · scaling_factor
  double shift_factor = 0.0;

  /// Pixels per latent along one axis.
  int64_t downscale() const;
};

/// sample: [B, in_channels, H, W] f32 in −1 … 1 (symbols batch, height, width; in pixels)
/// → latents: [B, latent_channels, H/8, W/8] f32, already in the diffusion model's scale where scaling_factor is 1.
/// Nothing is drawn: there is no variance. Boer Bohan 2023, as AutoencoderTiny of diffusers has it.
graph::Graph autoencoder_tiny_encoder(const AutoencoderTinyConfig& config);

/// latents: [B, latent_channels, h, w] f32 (symbols batch, height, width; in latents)
/// → decoded: [B, out_channels, 8·h, 8·w] f32, about −1 … 1, not clamped.
graph::Graph autoencoder_tiny_decoder(const AutoencoderTinyConfig& config);

}  // namespace easel::models
