// The residual block of the UNet and the autoencoder, and its resizing neighbours.
#pragma once

#include "nn/layers.h"

namespace easel::models {

struct ResnetConfig {
  int groups = 32;
  double eps = 1e-5;
  nn::Activation activation = nn::Activation::silu;
  bool scale_shift = false;          ///< the time embedding scales and shifts the second norm instead of being added
  double output_scale_factor = 1.0;  ///< the sum is divided by it
};

/// x: [B, H, W, in] → [B, H, W, out]; temb: [B, T] or none.
/// h = conv1(silu(norm1(x))) + time_emb_proj(silu(temb)); y = shortcut(x) + conv2(silu(norm2(h))).
/// He et al. 2016; with time embedding Ho et al. 2020 (diffusers' ResnetBlock2D).
nn::Var resnet_block(const nn::Scope& s, const nn::Var& x, const nn::Var* temb, int64_t out,
                     const ResnetConfig& config);

/// Nearest-neighbour resize to height × width, then conv 3×3 (diffusers' Upsample2D).
nn::Var upsample(const nn::Scope& s, const nn::Var& x, const Dim& height, const Dim& width);

}  // namespace easel::models
