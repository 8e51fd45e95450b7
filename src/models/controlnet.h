// ControlNet: the first half of a UNet, trained to steer another one by a picture.
#pragma once

#include <string>
#include <vector>

#include "models/unet_2d_condition.h"

namespace easel::models {

/// As in config.json of a ControlNetModel.
struct ControlNetConfig {
  UNet2DConditionConfig encoder;  ///< all but the way up
  int64_t conditioning_channels = 3;
  std::vector<int64_t> conditioning_embedding_out_channels = {16, 32, 96, 256};
  bool bgr = false;                     ///< the picture's channels are taken in the order blue, green, red
  bool global_pool_conditions = false;  ///< residuals are means over the picture

  /// Number of residuals for skips; one more is for the middle.
  size_t skips() const;
  /// Sides of the picture ÷ sides of the latents: every level of the picture's embedding but the first halves it.
  int64_t picture_factor() const { return int64_t{1} << (conditioning_embedding_out_channels.size() - 1); }
};

/// Inputs: those of unet_2d_condition() for its first half, and
///   controlnet_cond [1, conditioning_channels, f·H, f·W] f32 0 … 1 (request), f = picture_factor(), for all pictures,
///   conditioning_scales [B, skips + 1] f32 (step): the factor of each residual, the middle's last.
/// Outputs: down_block_res_samples.0, … and mid_block_res_sample [B, H', W', C] f32, in the shapes that the UNet's
/// variant `control` has for its inputs.
///   h = conv_in(sample) + embedding(controlnet_cond); residual_i = scale_i · zero_conv_i(skip_i of the way down)
/// accumulates: further inputs, named as in the UNet's variant, hold what other ControlNets gave; outputs are the sums.
/// Throws invalid_argument for a configuration that does not fit together.
/// Zhang et al. 2023, "Adding Conditional Control to Text-to-Image Diffusion Models" (diffusers' ControlNetModel).
graph::Graph control_net(const ControlNetConfig& config, bool accumulates = false);

/// Names of the outputs, in the order of the scales.
std::vector<std::string> control_net_outputs(const ControlNetConfig& config);
/// Names of the UNet's inputs for them, in the same order.
std::vector<std::string> control_net_targets(const ControlNetConfig& config);

}  // namespace easel::models
