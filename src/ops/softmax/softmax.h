#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Softmax over the last axis: y = exp(x − max) / Σ exp(x − max).
/// x: [..., S, T] f32 → same shape, f32. causal: entry t of row s takes part only where t ≤ s; the others become 0.
/// Throws shape_mismatch.
struct SoftmaxAttrs {
  bool causal = false;
  bool operator==(const SoftmaxAttrs&) const = default;
};

ValueType infer(const SoftmaxAttrs& attrs, Inputs inputs);
std::string to_string(const SoftmaxAttrs& attrs);

}  // namespace easel::ops
