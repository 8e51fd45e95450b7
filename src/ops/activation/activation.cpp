#include "ops/activation/activation.h"

namespace easel::ops {

ValueType infer(const ActivationAttrs& attrs, Inputs inputs) {
  expect_inputs("activation", inputs, 1);
  expect_floating("activation", "x", inputs[0]);
  if (attrs.kind == Activation::none || !is_elementwise(attrs.kind))
    fail(ErrorCode::invalid_argument, "activation: expected an element-wise kind, found {}", to_string(attrs.kind));
  return inputs[0];
}

std::string to_string(const ActivationAttrs& attrs) { return fmt::format(" {}", to_string(attrs.kind)); }

}  // namespace easel::ops
