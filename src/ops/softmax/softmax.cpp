#include "ops/softmax/softmax.h"

namespace easel::ops {

ValueType infer(const SoftmaxAttrs& attrs, Inputs inputs) {
  expect_inputs("softmax", inputs, 1);
  expect_rank("softmax", "x", inputs[0], attrs.causal ? 2 : 1, kMaxRank);
  expect_floating("softmax", "x", inputs[0]);
  return inputs[0];
}

std::string to_string(const SoftmaxAttrs& attrs) { return attrs.causal ? " causal" : ""; }

}  // namespace easel::ops
