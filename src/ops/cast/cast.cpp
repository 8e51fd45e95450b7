#include "ops/cast/cast.h"

namespace easel::ops {

ValueType infer(const CastAttrs& attrs, Inputs inputs) {
  expect_inputs("cast", inputs, 1);
  return {attrs.dtype, inputs[0].shape};
}

std::string to_string(const CastAttrs& attrs) { return fmt::format(" {}", easel::to_string(attrs.dtype)); }

}  // namespace easel::ops
