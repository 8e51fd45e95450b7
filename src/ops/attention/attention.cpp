#include "ops/attention/attention.h"

namespace easel::ops {

ValueType infer(const AttentionAttrs& attrs, Inputs inputs) {
  expect_inputs("attention", inputs, 3);
  const ValueType &q = inputs[0], &k = inputs[1], &v = inputs[2];
  expect_rank("attention", "q", q, 3, 3);
  expect_rank("attention", "k", k, 3, 3);
  expect_floating("attention", "q", q);
  if (attrs.heads < 1)
    fail(ErrorCode::invalid_argument, "attention: expected at least one head, found {}", attrs.heads);
  q.shape[2].exact_div(attrs.heads);
  const Dim batch = k.shape[0] == Dim(1) ? Dim(1) : q.shape[0];
  expect_shape("attention", "k", k, {batch, attrs.causal ? q.shape[1] : k.shape[1], q.shape[2]});
  expect_shape("attention", "v", v, k.shape);
  return {attrs.result, q.shape};
}

std::string to_string(const AttentionAttrs& attrs) {
  return fmt::format(" heads={} scale={:.6g}{}{}{}", attrs.heads, attrs.scale, attrs.causal ? " causal" : "",
                     attrs.precision == DType::f32 ? "" : fmt::format(" {}", to_string(attrs.precision)),
                     result_suffix(attrs.result));
}

}  // namespace easel::ops
