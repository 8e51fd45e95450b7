#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Tensors joined along one axis; all other sizes equal. Any dtype. Throws shape_mismatch.
struct ConcatAttrs {
  int axis = -1;  ///< negative: counted from the end
  bool operator==(const ConcatAttrs&) const = default;
};

ValueType infer(const ConcatAttrs& attrs, Inputs inputs);
std::string to_string(const ConcatAttrs& attrs);

}  // namespace easel::ops
