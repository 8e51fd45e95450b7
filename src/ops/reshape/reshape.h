#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Same elements in row-major order under another shape. Any dtype.
/// Throws shape_mismatch where the number of elements differs.
struct ReshapeAttrs {
  SymShape shape;
  void bind(const Bindings& bindings);
  bool operator==(const ReshapeAttrs&) const = default;
};

ValueType infer(const ReshapeAttrs& attrs, Inputs inputs);
std::string to_string(const ReshapeAttrs& attrs);

}  // namespace easel::ops
