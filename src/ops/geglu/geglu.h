#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Gated GELU: y = a · gelu_erf(g), where a and g are the first and the last half of x along the last axis.
/// x: [..., 2·N] f32 → [..., N] f32. Throws shape_mismatch. Shazeer 2020.
struct GegluAttrs {
  bool operator==(const GegluAttrs&) const = default;
};

ValueType infer(const GegluAttrs& attrs, Inputs inputs);
std::string to_string(const GegluAttrs& attrs);

}  // namespace easel::ops
