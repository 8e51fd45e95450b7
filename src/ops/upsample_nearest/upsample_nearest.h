#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Nearest-neighbour resize, channels last: y[h, w] = x[⌊h·H/H'⌋, ⌊w·W/W'⌋].
/// x: [B, H, W, C] f32 → [B, height, width, C] f32. Throws shape_mismatch.
struct UpsampleNearestAttrs {
  Dim height, width;
  void bind(const Bindings& bindings);
  bool operator==(const UpsampleNearestAttrs&) const = default;
};

ValueType infer(const UpsampleNearestAttrs& attrs, Inputs inputs);
std::string to_string(const UpsampleNearestAttrs& attrs);

}  // namespace easel::ops
