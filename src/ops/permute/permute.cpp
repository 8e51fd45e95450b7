#include "ops/permute/permute.h"

namespace easel::ops {

ValueType infer(const PermuteAttrs& attrs, Inputs inputs) {
  expect_inputs("permute", inputs, 1);
  const ValueType& x = inputs[0];
  std::vector<bool> seen(x.shape.size());
  ValueType y{x.dtype, {}};
  for (const int axis : attrs.order) {
    if (axis < 0 || axis >= static_cast<int>(x.shape.size()) || seen[static_cast<size_t>(axis)]) break;
    seen[static_cast<size_t>(axis)] = true;
    y.shape.push_back(x.shape[static_cast<size_t>(axis)]);
  }
  if (y.shape.size() != x.shape.size() || attrs.order.size() != x.shape.size())
    fail(ErrorCode::invalid_argument, "permute: [{}] is no permutation of the axes of {}", fmt::join(attrs.order, ", "),
         easel::to_string(x.shape));
  return y;
}

std::string to_string(const PermuteAttrs& attrs) { return fmt::format(" [{}]", fmt::join(attrs.order, ", ")); }

}  // namespace easel::ops
