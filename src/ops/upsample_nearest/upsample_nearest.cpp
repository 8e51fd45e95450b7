#include "ops/upsample_nearest/upsample_nearest.h"

namespace easel::ops {

ValueType infer(const UpsampleNearestAttrs& attrs, Inputs inputs) {
  expect_inputs("upsample_nearest", inputs, 1);
  const ValueType& x = inputs[0];
  expect_rank("upsample_nearest", "x", x, 4, 4);
  return {x.dtype, {x.shape[0], attrs.height, attrs.width, x.shape[3]}};
}

std::string to_string(const UpsampleNearestAttrs& attrs) {
  return fmt::format(" {}×{}", attrs.height.str(), attrs.width.str());
}

void UpsampleNearestAttrs::bind(const Bindings& bindings) {
  height = height.evaluate(bindings);
  width = width.evaluate(bindings);
}

}  // namespace easel::ops
