#include "ops/conv2d/conv2d.h"

namespace easel::ops {

ValueType infer(const Conv2dAttrs& attrs, Inputs inputs) {
  expect_inputs("conv2d", inputs, 2u + attrs.bias + attrs.channel_bias + attrs.slope() + attrs.residual);
  const ValueType &x = inputs[0], &w = inputs[1];
  expect_rank("conv2d", "x", x, 4, 4);
  expect_rank("conv2d", "weight", w, 4, 4);
  expect_floating("conv2d", "x", x);
  expect_shape("conv2d", "weight", w, {w.shape[0], x.shape[3], w.shape[2], w.shape[3]});
  if (attrs.stride < 1 || attrs.activation == Activation::geglu)
    fail(ErrorCode::invalid_argument, "conv2d: expected a stride of at least 1 and an element-wise activation");
  const auto out_size = [&](const Dim& size, int before, int after, const Dim& kernel) {
    return (size + (before + after) - kernel).floor_div(attrs.stride) + 1;
  };
  const ValueType y{attrs.result,
                    {x.shape[0], out_size(x.shape[1], attrs.pad_top, attrs.pad_bottom, w.shape[2]),
                     out_size(x.shape[2], attrs.pad_left, attrs.pad_right, w.shape[3]), w.shape[0]}};
  size_t next = 2;
  if (attrs.bias) expect_shape("conv2d", "bias", inputs[next++], {w.shape[0]});
  if (attrs.channel_bias) expect_shape("conv2d", "channel_bias", inputs[next++], {x.shape[0], w.shape[0]});
  if (attrs.slope()) expect_shape("conv2d", "slope", inputs[next++], {w.shape[0]});
  if (attrs.residual) expect_shape("conv2d", "residual", inputs[next++], y.shape);
  return y;
}

std::string to_string(const Conv2dAttrs& attrs) {
  return fmt::format(" stride={} pad=[{}, {}, {}, {}]{}{}{}{}{}", attrs.stride, attrs.pad_top, attrs.pad_left,
                     attrs.pad_bottom, attrs.pad_right, attrs.bias ? " bias" : "",
                     attrs.channel_bias ? " channel_bias" : "", attrs.residual ? " residual" : "",
                     attrs.activation == Activation::none ? "" : fmt::format(" {}", to_string(attrs.activation)),
                     result_suffix(attrs.result));
}

}  // namespace easel::ops
