#pragma once

#include "ops/schema.h"

namespace easel::ops {

enum class BinaryKind { add, sub, mul, div };
std::string_view to_string(BinaryKind kind) noexcept;

/// Element-wise a ∘ b with broadcasting: shapes are aligned at the last axis, sizes of 1 (or missing) are repeated.
/// a, b: f32 → f32. Throws shape_mismatch.
struct BinaryAttrs {
  BinaryKind kind = BinaryKind::add;
  bool operator==(const BinaryAttrs&) const = default;
};

ValueType infer(const BinaryAttrs& attrs, Inputs inputs);
std::string to_string(const BinaryAttrs& attrs);

}  // namespace easel::ops
