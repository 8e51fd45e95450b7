// ESRGAN and Real-ESRGAN: a picture at twice or four times its size.
#pragma once

#include "graph/graph.h"
#include "nn/var.h"

namespace easel::models {

/// The published networks differ in these numbers alone.
struct RRDBNetConfig {
  int64_t in_channels = 3;  ///< of the picture
  int64_t out_channels = 3;
  int64_t num_feat = 64;
  int64_t num_grow_ch = 32;
  int num_block = 23;
  int upsamplings = 2;  ///< by two each
  int unshuffle = 1;    ///< pixels of a square that become channels first: 2 in Real-ESRGAN x2

  /// Pixels out per pixel in along one axis: 2^upsamplings / unshuffle.
  int64_t scale() const { return (int64_t{1} << upsamplings) / unshuffle; }
  /// A picture's sides must be multiples of it.
  int64_t multiple() const { return unshuffle; }
};

/// The part at low resolution, nearly all of the work.
/// sample: [B, H, W, in_channels] f32, 0 … 1 (symbols batch, height, width)
/// → features: [B, H/unshuffle, W/unshuffle, num_feat] f32.
/// Residual in residual dense blocks, Wang et al. 2018; weights named as BasicSR's RRDBNet names them.
graph::Graph rrdb_net_body(const RRDBNetConfig& config);

/// The part that upsamples. features: [B, h, w, num_feat] f32 (symbols batch, height, width)
/// → upscaled: [B, 2^upsamplings·h, 2^upsamplings·w, out_channels] f32, about 0 … 1, not clamped.
/// A result's pixel depends on the features at most rrdb_net_tail_reach lines and columns away from its own.
graph::Graph rrdb_net_tail(const RRDBNetConfig& config);
inline constexpr int64_t rrdb_net_tail_reach = 2;

}  // namespace easel::models
