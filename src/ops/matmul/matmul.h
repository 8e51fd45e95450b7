#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Batched matrix product: y = alpha · a · b, or alpha · a · bᵀ with transpose_b.
/// a: [..., M, K] f32; b: [..., K, N] (or [..., N, K]) f32, equal leading sizes → y: [..., M, N] f32.
/// Throws shape_mismatch.
struct MatmulAttrs {
  bool transpose_b = false;
  double alpha = 1.0;
  bool operator==(const MatmulAttrs&) const = default;
};

ValueType infer(const MatmulAttrs& attrs, Inputs inputs);
std::string to_string(const MatmulAttrs& attrs);

}  // namespace easel::ops
