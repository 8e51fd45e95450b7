// The reference of matmul: the formula of matmul.h in double.
#include "ops/isa.h"

namespace easel::ops {
namespace {

const char* reject(const OpCall& call) noexcept {
  for (const ArgType& input : call.inputs)
    if (input.dtype != DType::f32) return "needs f32 inputs";
  return nullptr;
}

/// Where matrix `index` of a batch begins, in elements.
int64_t matrix_offset(const ArgType& type, int64_t index) {
  int64_t offset = 0;
  for (int axis = type.shape.rank() - 3; axis >= 0; --axis) {
    offset += index % type.shape[axis] * type.strides[axis];
    index /= type.shape[axis];
  }
  return offset;
}

void run(const KernelArgs& args) noexcept {
  const auto& attrs = args.call.as<MatmulAttrs>();
  const ArgType &a = args.call.inputs[0], &b = args.call.inputs[1];
  const int64_t rows = a.shape[-2], depth = a.shape[-1], columns = args.call.output.shape[-1];
  const int64_t b_depth_stride = b.strides[attrs.transpose_b ? -1 : -2];
  const int64_t b_column_stride = b.strides[attrs.transpose_b ? -2 : -1];
  int64_t matrices = 1;
  for (int axis = 0; axis + 2 < a.shape.rank(); ++axis) matrices *= a.shape[axis];
  args.pool.parallel_for(matrices * rows, [&](int64_t task, int) {
    const int64_t matrix = task / rows;
    const float* x = static_cast<const float*>(args.inputs[0]) + matrix_offset(a, matrix) + task % rows * a.strides[-2];
    const float* w = static_cast<const float*>(args.inputs[1]) + matrix_offset(b, matrix);
    float* y = static_cast<float*>(args.output) + task * columns;
    for (int64_t n = 0; n < columns; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k)
        sum += double(x[k * a.strides[-1]]) * w[k * b_depth_stride + n * b_column_stride];
      y[n] = static_cast<float>(attrs.alpha * sum);
    }
  });
}

}  // namespace

EASEL_KERNEL(matmul_reference) = {.name = "reference", .reject = reject, .run = run};

}  // namespace easel::ops
