#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Rows of a table: y[...] = table[ids[...]]. ids: [...] i32, 0 ≤ id < V (callers check; kernels clamp);
/// table: [V, D] f32|bf16|f16, a constant also in blocks (see linear.h) → [..., D] f32. Throws shape_mismatch.
struct EmbeddingAttrs {
  bool operator==(const EmbeddingAttrs&) const = default;
};

ValueType infer(const EmbeddingAttrs& attrs, Inputs inputs);
std::string to_string(const EmbeddingAttrs& attrs);

}  // namespace easel::ops
