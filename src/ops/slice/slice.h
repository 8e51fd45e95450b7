#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Elements begin … begin+length−1 along one axis. Any dtype. Throws invalid_argument outside a known size.
struct SliceAttrs {
  int axis = -1;  ///< negative: counted from the end
  int64_t begin = 0;
  int64_t length = 0;
  bool operator==(const SliceAttrs&) const = default;
};

ValueType infer(const SliceAttrs& attrs, Inputs inputs);
std::string to_string(const SliceAttrs& attrs);

}  // namespace easel::ops
