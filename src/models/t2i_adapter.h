// T2I-Adapter: a small network that turns a picture into features for the way down of a UNet.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "nn/var.h"

namespace easel::models {

/// As in config.json of a T2IAdapter.
struct T2IAdapterConfig {
  enum class Kind { full, full_xl, light } kind = Kind::full;
  int64_t in_channels = 3;
  std::vector<int64_t> channels = {320, 640, 1280, 1280};  ///< of the light kind, the last stands for two features
  int num_res_blocks = 2;
  int64_t downscale_factor = 8;  ///< of the sides, before the first convolution

  /// One for each feature: its channels, and the sides of the picture ÷ its own (rounded up).
  struct Feature {
    int64_t channels, scale;
  };
  std::vector<Feature> features() const;
};

/// Input: picture [1, in_channels, f·height, f·width] f32 0 … 1 (request), f = downscale_factor.
/// Outputs: feature.0, … [1, H', W', C] f32, in the order of features().
///   x = unshuffle(picture); each block: average over 2×2 where it halves, x = in_conv(x), x += block2(relu(block1(x)))
///   …
/// Throws invalid_argument for a configuration without channels.
/// Mou et al. 2023, "T2I-Adapter: Learning Adapters to Dig out More Controllable Ability for Text-to-Image Diffusion
/// Models" (diffusers' T2IAdapter).
graph::Graph t2i_adapter(const T2IAdapterConfig& config);

/// Names of the outputs.
std::vector<std::string> t2i_adapter_outputs(const T2IAdapterConfig& config);

}  // namespace easel::models
