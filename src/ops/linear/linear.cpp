#include "ops/linear/linear.h"

namespace easel::ops {

ValueType infer(const LinearAttrs& attrs, Inputs inputs) {
  expect_inputs("linear", inputs, attrs.low_rank_input() + (attrs.low_rank ? 2 : 0));
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
  if (attrs.low_rank) {
    const ValueType &t = inputs[attrs.low_rank_input()], &u = inputs[attrs.low_rank_input() + 1];
    expect_rank("linear", "u", u, 2, 2);
    expect_floating("linear", "t", t);
    SymShape rows = x.shape;
    rows.back() = u.shape[1];
    expect_shape("linear", "t", t, rows);
    expect_shape("linear", "u", u, {w.shape[0], u.shape[1]});
    if (u.dtype != w.dtype ||
        (u.shape[1].is_constant() && w.shape[0].is_constant() && 2 * u.shape[1].value() >= w.shape[0].value()))
      fail(ErrorCode::shape_mismatch,
           "linear: expected u of w's dtype and less than half as wide as w is high, found {} "
           "{} for {} {}",
           to_string(u.dtype), to_string(u.shape), to_string(w.dtype), to_string(w.shape));
  }
  return y;
}

std::string to_string(const LinearAttrs& attrs) {
  return fmt::format("{}{}{}{}{}", attrs.bias ? " bias" : "", attrs.residual ? " residual" : "",
                     attrs.low_rank ? " low_rank" : "",
                     attrs.activation == Activation::none ? "" : fmt::format(" {}", to_string(attrs.activation)),
                     result_suffix(attrs.result));
}

}  // namespace easel::ops
