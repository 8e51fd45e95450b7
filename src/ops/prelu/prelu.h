#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Rectifier with a learned slope per channel, the last axis: y = x where x > 0, else slope · x.
/// x: [..., C] f32; slope: [C] f32 → [..., C] f32. One slope for all channels is the leaky rectifier.
/// Throws shape_mismatch. He et al. 2015; Maas et al. 2013.
struct PReluAttrs {
  bool operator==(const PReluAttrs&) const = default;
};

ValueType infer(const PReluAttrs& attrs, Inputs inputs);
std::string to_string(const PReluAttrs& attrs);

}  // namespace easel::ops
