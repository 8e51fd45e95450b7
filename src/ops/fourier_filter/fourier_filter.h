#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Scales the lowest frequencies of pictures: y = x + (scale − 1)·low(x), low(x) being the real part of the inverse
/// Fourier transform over [H, W] of the bins with frequencies 0 and −1 of each axis (of an axis of size 1: 0 alone).
/// x: [B, H, W, C] f32; scale: [1] f32 → [B, H, W, C] f32. Throws shape_mismatch.
/// Si et al. 2023 (FreeU), eq. 5 to 7 with a threshold of 1, as in their code and diffusers' fourier_filter.
struct FourierFilterAttrs {
  bool operator==(const FourierFilterAttrs&) const = default;
};

ValueType infer(const FourierFilterAttrs& attrs, Inputs inputs);
std::string to_string(const FourierFilterAttrs& attrs);

}  // namespace easel::ops
