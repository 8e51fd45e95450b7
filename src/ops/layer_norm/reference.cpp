#include <cmath>

#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/reject.h"
#include "tensor/convert.h"

namespace easel::ops {

namespace {

void run(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.output.shape;
  const int64_t columns = shape.back(), rows = product(shape, 0, shape.rank() - 1);
  const auto& attrs = args.call.as<LayerNormAttrs>();
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = static_cast<const float*>(args.inputs[0]) + row * columns;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < columns; ++i) mean += x[i];
    mean /= static_cast<double>(columns);
    for (int64_t i = 0; i < columns; ++i) variance += (x[i] - mean) * (x[i] - mean);
    const double factor = 1 / std::sqrt(variance / static_cast<double>(columns) + attrs.eps);
    for (int64_t i = 0; i < columns; ++i) {
      const double weight = attrs.affine ? static_cast<const float*>(args.inputs[1])[i] : 1.0;
      const double bias = attrs.affine ? static_cast<const float*>(args.inputs[2])[i] : 0.0;
      store_from_double(args.output, args.call.output.dtype, row * columns + i, (x[i] - mean) * factor * weight + bias);
    }
  }
}

}  // namespace

EASEL_KERNEL(layer_norm_reference) = {
    .name = "reference", .reject = reject_other_than_f32_rows, .run = run, .in_place = 1};

}  // namespace easel::ops
