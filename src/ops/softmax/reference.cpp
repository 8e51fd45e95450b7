#include <cmath>

#include "ops/isa.h"

namespace easel::ops {

namespace {

const char* reject(const OpCall& call) noexcept {
  if (call.inputs[0].dtype != DType::f32) return "needs f32";
  if (!call.inputs[0].contiguous()) return "needs contiguous rows";
  return nullptr;
}

void run(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.inputs[0].shape;
  const bool causal = args.call.as<SoftmaxAttrs>().causal;
  const int64_t columns = shape.back();
  const int64_t rows_per_matrix = shape.rank() > 1 ? shape[-2] : 1;
  int64_t rows = 1;
  for (int i = 0; i + 1 < shape.rank(); ++i) rows *= shape[i];
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = static_cast<const float*>(args.inputs[0]) + row * columns;
    float* y = static_cast<float*>(args.output) + row * columns;
    const int64_t live = causal ? std::min(columns, row % rows_per_matrix + 1) : columns;
    double highest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < live; ++i) highest = x[i] > highest || std::isnan(x[i]) ? x[i] : highest;
    for (int64_t i = 0; i < live; ++i) sum += std::exp(x[i] - highest);
    for (int64_t i = 0; i < columns; ++i) y[i] = i < live ? static_cast<float>(std::exp(x[i] - highest) / sum) : 0.0f;
  }
}

}  // namespace

EASEL_KERNEL(softmax_reference) = {.name = "reference", .reject = reject, .run = run, .in_place = 1};

}  // namespace easel::ops
