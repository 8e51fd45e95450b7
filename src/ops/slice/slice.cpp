#include "ops/slice/slice.h"

namespace easel::ops {

ValueType infer(const SliceAttrs& attrs, Inputs inputs) {
  expect_inputs("slice", inputs, 1);
  ValueType y = inputs[0];
  const auto axis = static_cast<size_t>(normalize_axis("slice", attrs.axis, y.shape.size()));
  const Dim& size = y.shape[axis];
  if (attrs.begin < 0 || attrs.length < 0 ||
      (size.is_constant() && (attrs.begin > size.value() || attrs.length > size.value() - attrs.begin)))
    fail(ErrorCode::invalid_argument, "slice: {} from {} is outside axis {} of {}", attrs.length, attrs.begin, axis,
         easel::to_string(y.shape));
  y.shape[axis] = attrs.length;
  return y;
}

std::string to_string(const SliceAttrs& attrs) {
  return fmt::format(" axis={} begin={} length={}", attrs.axis, attrs.begin, attrs.length);
}

}  // namespace easel::ops
