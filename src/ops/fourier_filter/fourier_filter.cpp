#include "ops/fourier_filter/fourier_filter.h"

namespace easel::ops {

ValueType infer(const FourierFilterAttrs&, Inputs inputs) {
  expect_inputs("fourier_filter", inputs, 2);
  expect_rank("fourier_filter", "x", inputs[0], 4, 4);
  expect_rank("fourier_filter", "scale", inputs[1], 1, 1);
  if (!(inputs[1].shape[0] == Dim(1)))
    fail(ErrorCode::shape_mismatch, "fourier_filter: scale: expected [1], found [{}]", inputs[1].shape[0].str());
  return inputs[0];
}

std::string to_string(const FourierFilterAttrs&) { return ""; }

}  // namespace easel::ops
