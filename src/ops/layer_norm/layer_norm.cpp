#include "ops/layer_norm/layer_norm.h"

namespace easel::ops {

ValueType infer(const LayerNormAttrs& attrs, Inputs inputs) {
  expect_inputs("layer_norm", inputs, attrs.affine ? 3 : 1);
  const ValueType& x = inputs[0];
  expect_rank("layer_norm", "x", x, 1, kMaxRank);
  expect_floating("layer_norm", "x", x);
  if (attrs.affine) {
    expect_shape("layer_norm", "weight", inputs[1], {x.shape.back()});
    expect_shape("layer_norm", "bias", inputs[2], {x.shape.back()});
  }
  return {attrs.result, x.shape};
}

std::string to_string(const LayerNormAttrs& attrs) {
  return fmt::format(" eps={:g}{}{}", attrs.eps, attrs.affine ? "" : " plain", result_suffix(attrs.result));
}

}  // namespace easel::ops
