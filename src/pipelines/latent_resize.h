// Latents at another size.
#pragma once

#include <string>

#include <easel/tensor.h>

namespace easel::pipelines {

enum class LatentFilter {
  bilinear,      ///< between the four nearest centres; torch's interpolate(mode="bilinear", align_corners=False)
  nearest_exact  ///< the centre that lies nearest; torch's "nearest-exact"
};

/// latents: [N, C, h, w] f32 → [N, C, height, width].
Tensor resize_latents(const Tensor& latents, int64_t height, int64_t width, LatentFilter filter);

}  // namespace easel::pipelines
