// The compact upscalers of Real-ESRGAN: realesr-general, realesr-animevideo and what is trained like them.
#pragma once

#include "graph/graph.h"
#include "nn/var.h"

namespace easel::models {

struct SRVGGNetConfig {
  int64_t in_channels = 3;
  int64_t out_channels = 3;
  int64_t num_feat = 64;
  int num_conv = 16;  ///< convolutions between the first and the last one
  int upscale = 4;

  /// How far a result's pixel looks, in pixels of the input.
  int64_t reach() const { return num_conv + 2; }
};

/// sample: [B, H, W, in_channels] f32, 0 … 1 (symbols batch, height, width)
/// → upscaled: [B, upscale·H, upscale·W, out_channels] f32, about 0 … 1, not clamped.
/// Convolutions with PReLU at low resolution, pixel shuffle, and the picture itself, enlarged, added. Wang et al. 2021;
/// weights named as BasicSR's SRVGGNetCompact names them.
graph::Graph srvgg_net(const SRVGGNetConfig& config);

}  // namespace easel::models
