#include "ops/linear/linear.h"

namespace easel::ops {

ValueType infer(const LinearAttrs& attrs, Inputs inputs) {
  expect_inputs("linear", inputs, 2u + attrs.bias + attrs.residual);
  const ValueType &x = inputs[0], &w = inputs[1];
  expect_rank("linear", "x", x, 1, kMaxRank);
  expect_rank("linear", "weight", w, 2, 2);
  expect_floating("linear", "x", x);
  expect_shape("linear", "weight", w, {w.shape[0], x.shape.back()});
  ValueType y = {attrs.result, x.shape};
  if (attrs.activation == Activation::prelu)
    fail(ErrorCode::invalid_argument, "linear: expected an element-wise activation or geglu, found prelu");
  y.shape.back() = attrs.activation == Activation::geglu ? w.shape[0].exact_div(2) : w.shape[0];
  if (attrs.bias) expect_shape("linear", "bias", inputs[2], {w.shape[0]});
  if (attrs.residual) expect_shape("linear", "residual", inputs[2u + attrs.bias], y.shape);
  return y;
}

std::string to_string(const LinearAttrs& attrs) {
  return fmt::format("{}{}{}{}", attrs.bias ? " bias" : "", attrs.residual ? " residual" : "",
                     attrs.activation == Activation::none ? "" : fmt::format(" {}", to_string(attrs.activation)),
                     result_suffix(attrs.result));
}

}  // namespace easel::ops
