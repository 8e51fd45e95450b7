#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Elements in another dtype, rounded to nearest even where it holds fewer digits. Throws nothing.
struct CastAttrs {
  DType dtype = DType::f32;
  bool operator==(const CastAttrs&) const = default;
};

ValueType infer(const CastAttrs& attrs, Inputs inputs);
std::string to_string(const CastAttrs& attrs);

}  // namespace easel::ops
