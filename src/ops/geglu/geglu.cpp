#include "ops/geglu/geglu.h"

namespace easel::ops {

ValueType infer(const GegluAttrs& attrs, Inputs inputs) {
  expect_inputs("geglu", inputs, 1);
  expect_rank("geglu", "x", inputs[0], 1, kMaxRank);
  expect_floating("geglu", "x", inputs[0]);
  ValueType y = inputs[0];
  y.shape.back() = y.shape.back().exact_div(2);
  return y;
}

std::string to_string(const GegluAttrs& attrs) { return ""; }

}  // namespace easel::ops
