#pragma once

#include <vector>
#include "ops/schema.h"

namespace easel::ops {

/// Axes reordered: axis i of y is axis order[i] of x. Any dtype. Throws invalid_argument unless a permutation.
struct PermuteAttrs {
  std::vector<int> order;
  bool operator==(const PermuteAttrs&) const = default;
};

ValueType infer(const PermuteAttrs& attrs, Inputs inputs);
std::string to_string(const PermuteAttrs& attrs);

}  // namespace easel::ops
