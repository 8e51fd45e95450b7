// The reference of linear: the formula of linear.h, sums and epilogue in double.
#include <cmath>

#include "ops/activation/exact.h"
#include "ops/gemm/reference.h"
#include "ops/isa.h"
#include "ops/linear/linear.h"
#include "tensor/convert.h"

namespace easel::ops {
namespace {

const char* reject(const OpCall& call) noexcept {
  const auto& attrs = call.as<LinearAttrs>();
  for (size_t i = 2; i < attrs.low_rank_input(); ++i)
    if (call.inputs[i].dtype != DType::f32) return "bias or residual is not f32";
  if (attrs.low_rank && !reference_element(call.inputs[attrs.low_rank_input()].dtype))
    return "t is not f32, f16 or bf16";
  if (!reference_element(call.inputs[0].dtype)) return "x is not f32, f16 or bf16";
  if (call.inputs[1].encoding != BlockFormat::none && !call.inputs[1].contiguous()) return "blocks are not row by row";
  return reference_element(call.inputs[1].dtype) ? nullptr : "the weight is not f32, f16 or bf16";
}

int64_t row_offset(const ArgType& type, int64_t row) {
  int64_t offset = 0;
  for (int axis = type.shape.rank() - 2; axis >= 0; --axis) {
    offset += row % type.shape[axis] * type.strides[axis];
    row /= type.shape[axis];
  }
  return offset;
}

int64_t scratch_bytes(const OpCall& call, int) noexcept {
  const ArgType& w = call.inputs[1];
  return w.encoding == BlockFormat::none ? 0 : w.shape.numel() * size_of(DType::f64);
}

void run(const KernelArgs& args) noexcept {
  const auto& attrs = args.call.as<LinearAttrs>();
  const auto& in = args.call.inputs;
  const ArgType &x = in[0], &w = in[1];
  const size_t next = 2u + attrs.bias;
  const bool gated = attrs.activation == Activation::geglu;
  const int64_t depth = w.shape[1], columns = gated ? w.shape[0] / 2 : w.shape[0];
  const bool blocks = w.encoding != BlockFormat::none;
  if (blocks)
    args.pool.parallel_for(w.shape[0], [&](int64_t n, int) {
      decode_row(w, args.inputs[1], n, reinterpret_cast<double*>(args.scratch) + n * depth);
    });
  const ElementReader source{args.inputs[0], x.dtype};
  const ElementReader weight =
      blocks ? ElementReader{args.scratch, DType::f64} : ElementReader{args.inputs[1], w.dtype};
  const size_t low = attrs.low_rank_input();
  const int64_t rank = attrs.low_rank ? in[low + 1].shape[1] : 0;
  const ElementReader side{attrs.low_rank ? args.inputs[low] : nullptr, attrs.low_rank ? in[low].dtype : DType::f32};
  const ElementReader up{attrs.low_rank ? args.inputs[low + 1] : nullptr, w.dtype};
  int64_t rows = 1;
  for (int axis = 0; axis + 1 < x.shape.rank(); ++axis) rows *= x.shape[axis];
  args.pool.parallel_for(rows, [&](int64_t m, int) {
    const int64_t row = row_offset(x, m);
    const auto column = [&](int64_t n) {
      double sum = attrs.bias ? static_cast<const float*>(args.inputs[2])[n * in[2].strides[0]] : 0.0;
      for (int64_t k = 0; k < depth; ++k)
        sum += source(row + k * x.strides[-1]) * weight(n * w.strides[0] + k * w.strides[1]);
      for (int64_t k = 0; k < rank; ++k)
        sum += side(row_offset(in[low], m) + k * in[low].strides[-1]) *
               up(n * in[low + 1].strides[0] + k * in[low + 1].strides[1]);
      return sum;
    };
    for (int64_t n = 0; n < columns; ++n) {
      double y = column(n);
      y = gated ? y * activate_exactly(Activation::gelu_erf, column(n + columns))
                : activate_exactly(attrs.activation, y);
      if (attrs.residual)
        y += static_cast<const float*>(args.inputs[next])[row_offset(in[next], m) + n * in[next].strides[-1]];
      store_from_double(args.output, args.call.output.dtype, m * columns + n, y);
    }
  });
}

}  // namespace

EASEL_KERNEL(linear_reference) = {
    .name = "reference", .reject = reject, .run = run, .scratch_bytes = scratch_bytes, .in_place = 0b1100};

}  // namespace easel::ops
