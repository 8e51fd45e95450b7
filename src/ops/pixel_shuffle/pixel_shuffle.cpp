#include "ops/pixel_shuffle/pixel_shuffle.h"

namespace easel::ops {

ValueType infer(const PixelShuffleAttrs& attrs, Inputs inputs) {
  expect_inputs("pixel_shuffle", inputs, 1);
  const ValueType& x = inputs[0];
  expect_rank("pixel_shuffle", "x", x, 4, 4);
  const int64_t r = attrs.factor;
  if (r < 1) fail(ErrorCode::invalid_argument, "pixel_shuffle: expected a factor of at least 1, found {}", r);
  const auto divided = [&](const Dim& size, int64_t by, const char* what) {
    if (size.is_constant() && size.value() % by != 0)
      fail(ErrorCode::shape_mismatch, "pixel_shuffle: expected {} in multiples of {}, found {}", what, by,
           size.value());
    return size.floor_div(by);
  };
  if (attrs.inverse)
    return {x.dtype,
            {x.shape[0], divided(x.shape[1], r, "lines"), divided(x.shape[2], r, "columns"), x.shape[3] * (r * r)}};
  return {x.dtype, {x.shape[0], x.shape[1] * r, x.shape[2] * r, divided(x.shape[3], r * r, "channels")}};
}

std::string to_string(const PixelShuffleAttrs& attrs) {
  return fmt::format(" factor={}{}", attrs.factor, attrs.inverse ? " inverse" : "");
}

}  // namespace easel::ops
