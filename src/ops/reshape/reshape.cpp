#include "ops/reshape/reshape.h"

namespace easel::ops {

ValueType infer(const ReshapeAttrs& attrs, Inputs inputs) {
  expect_inputs("reshape", inputs, 1);
  if (numel(attrs.shape) != numel(inputs[0].shape))
    fail(ErrorCode::shape_mismatch, "reshape: {} does not hold the elements of {}", easel::to_string(attrs.shape),
         easel::to_string(inputs[0].shape));
  return {inputs[0].dtype, attrs.shape};
}

std::string to_string(const ReshapeAttrs& attrs) { return fmt::format(" {}", easel::to_string(attrs.shape)); }

void ReshapeAttrs::bind(const Bindings& bindings) { shape = symbolic(evaluate(shape, bindings)); }

}  // namespace easel::ops
