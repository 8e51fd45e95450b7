#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Layer normalization over the last axis: y = (x − mean) / sqrt(var + eps) · weight + bias, biased variance.
/// x: [..., D] f32; weight, bias: [D] f32, both or (affine = false) neither → shape of x, of dtype `result` (f32 or
/// bf16). Throws shape_mismatch. Ba et al. 2016.
struct LayerNormAttrs {
  double eps = 1e-5;
  bool affine = true;
  DType result = DType::f32;
  bool operator==(const LayerNormAttrs&) const = default;
};

ValueType infer(const LayerNormAttrs& attrs, Inputs inputs);
std::string to_string(const LayerNormAttrs& attrs);

}  // namespace easel::ops
