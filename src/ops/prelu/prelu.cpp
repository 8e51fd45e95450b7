#include "ops/prelu/prelu.h"

namespace easel::ops {

ValueType infer(const PReluAttrs&, Inputs inputs) {
  expect_inputs("prelu", inputs, 2);
  expect_rank("prelu", "x", inputs[0], 1, kMaxRank);
  expect_floating("prelu", "x", inputs[0]);
  expect_shape("prelu", "slope", inputs[1], {inputs[0].shape.back()});
  return inputs[0];
}

std::string to_string(const PReluAttrs&) { return ""; }

}  // namespace easel::ops
