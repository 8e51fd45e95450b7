#include "ops/timestep_embedding/timestep_embedding.h"

namespace easel::ops {

ValueType infer(const TimestepEmbeddingAttrs& attrs, Inputs inputs) {
  expect_inputs("timestep_embedding", inputs, 1);
  expect_rank("timestep_embedding", "t", inputs[0], 1, 1);
  if (attrs.dim < 1)
    fail(ErrorCode::invalid_argument, "timestep_embedding: expected a positive size, found {}", attrs.dim);
  return {DType::f32, {inputs[0].shape[0], attrs.dim}};
}

std::string to_string(const TimestepEmbeddingAttrs& attrs) {
  return fmt::format(" dim={}{} shift={:g}", attrs.dim, attrs.flip_sin_to_cos ? " flip" : "",
                     attrs.downscale_freq_shift);
}

}  // namespace easel::ops
