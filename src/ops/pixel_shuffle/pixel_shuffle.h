#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Channels to pixels, channels last: y[h·r + i, w·r + j, c] = x[h, w, c·r² + i·r + j], r = factor, 0 ≤ i, j < r.
/// x: [B, H, W, C·r²] → [B, H·r, W·r, C]; with `inverse` the way back, [B, H, W, C] → [B, H/r, W/r, C·r²] (pixel
/// unshuffle, where H and W are multiples of r). Any dtype. Throws shape_mismatch. Shi et al. 2016; the order of
/// channels is that of torch.nn.PixelShuffle.
struct PixelShuffleAttrs {
  int factor = 2;
  bool inverse = false;
  bool operator==(const PixelShuffleAttrs&) const = default;
};

ValueType infer(const PixelShuffleAttrs& attrs, Inputs inputs);
std::string to_string(const PixelShuffleAttrs& attrs);

}  // namespace easel::ops
