#include "ops/group_norm/group_norm.h"

namespace easel::ops {

ValueType infer(const GroupNormAttrs& attrs, Inputs inputs) {
  expect_inputs("group_norm", inputs, 3);
  const ValueType& x = inputs[0];
  expect_rank("group_norm", "x", x, 2, kMaxRank);
  expect_floating("group_norm", "x", x);
  if (attrs.groups < 1 || !is_elementwise(attrs.activation))
    fail(ErrorCode::invalid_argument, "group_norm: expected at least one group and an element-wise activation");
  x.shape.back().exact_div(attrs.groups);
  expect_shape("group_norm", "weight", inputs[1], {x.shape.back()});
  expect_shape("group_norm", "bias", inputs[2], {x.shape.back()});
  return {attrs.result, x.shape};
}

std::string to_string(const GroupNormAttrs& attrs) {
  return fmt::format(" groups={} eps={:g}{}{}", attrs.groups, attrs.eps,
                     attrs.activation == Activation::none ? "" : fmt::format(" {}", to_string(attrs.activation)),
                     result_suffix(attrs.result));
}

}  // namespace easel::ops
