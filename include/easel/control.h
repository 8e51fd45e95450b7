// Networks that steer a model by a picture: edges, depth, poses.
#pragma once

#include <string>
#include <vector>

#include <easel/picture_inputs.h>

namespace easel {

/// One network, the picture that it goes by, and how strongly it acts. What it gives is added to what the UNet
/// computes: residual · scale · block_scales[i]. Networks of one request are added up.
struct ControlNetInput {
  std::string path;     ///< a file or folder; see docs/CONTROL.md
  PictureSource image;  ///< resized to the size of the picture that is made (Lanczos), whatever its own
  double scale = 1;     ///< 0: the network does not run
  /// One factor for each of its residuals, the way down in order and the middle last; empty: all 1.
  std::vector<double> block_scales = {};
  /// The part of the denoiser's runs in which it acts: run i of n does where i/n ≥ start and (i+1)/n ≤ end, as
  /// diffusers' control_guidance_start and control_guidance_end. 0 ≤ start < end ≤ 1.
  double start = 0, end = 1;
};

}  // namespace easel
