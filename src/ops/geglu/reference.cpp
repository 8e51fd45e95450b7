#include <cmath>
#include <numbers>

#include "ops/isa.h"
#include "ops/parts.h"

namespace easel::ops {

namespace {

const char* reject(const OpCall& call) noexcept {
  if (call.inputs[0].dtype != DType::f32) return "needs f32";
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}

void run(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.output.shape;
  const int64_t columns = shape.back(), rows = product(shape, 0, shape.rank() - 1);
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = static_cast<const float*>(args.inputs[0]) + row * 2 * columns;
    float* y = static_cast<float*>(args.output) + row * columns;
    for (int64_t i = 0; i < columns; ++i) {
      const double gate = x[columns + i];
      y[i] = static_cast<float>(x[i] * (gate * 0.5 * std::erfc(-gate / std::numbers::sqrt2)));
    }
  }
}

}  // namespace

EASEL_KERNEL(geglu_reference) = {.name = "reference", .reject = reject, .run = run};

}  // namespace easel::ops
