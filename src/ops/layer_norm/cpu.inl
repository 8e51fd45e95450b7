// One row at a time; it stays in the first-level cache for all three passes.
#include <cmath>

#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/reject.h"
#include "ops/simd.h"

namespace easel::ops {

namespace {

using namespace simd;

// Σ f(x[i] − shift), in four sums.
template <bool kSquares>
double shifted_sum(const float* x, int64_t count, float shift) {
  Vec sums[4] = {};
  const auto add = [&](Vec& into, Vec d) { into += kSquares ? d * d : d; };
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes)
    for (int k = 0; k < 4; ++k) add(sums[k], load(x + i + k * kLanes) - shift);
  for (; i + kLanes <= count; i += kLanes) add(sums[0], load(x + i) - shift);
  double total = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < count; ++i) {
    const double d = x[i] - shift;
    total += kSquares ? d * d : d;
  }
  return total;
}

template <bool kAffine, typename Y>
void layer_norm_row(const float* x, const float* weight, const float* bias, Y* y, int64_t columns, double eps) {
  // Sums of differences from one element keep their digits where the mean is far from 0. The mean is used in two
  // parts for the same reason.
  const auto n = static_cast<double>(columns);
  const double mean = x[0] + shifted_sum<false>(x, columns, x[0]) / n;
  const auto high = static_cast<float>(mean);
  const double low = mean - high;
  const double variance = shifted_sum<true>(x, columns, high) / n - low * low;
  const double inverse = 1 / std::sqrt(std::max(variance, 0.0) + eps);  // std::max returns a NaN in its first place
  const auto factor = static_cast<float>(inverse);
  const auto offset = static_cast<float>(-low * inverse);
  const auto normalize = [&](Vec v) { return (v - high) * factor + offset; };
  int64_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) {
    const Vec v = normalize(load(x + i));
    store_as(y + i, kAffine ? v * load(weight + i) + load(bias + i) : v, kLanes);
  }
  if (i < columns) {
    const int64_t rest = columns - i;
    const Vec v = normalize(load_n(x + i, rest));
    store_as(y + i, kAffine ? v * load_n(weight + i, rest) + load_n(bias + i, rest) : v, rest);
  }
}

const char* layer_norm_reject(const OpCall& call) noexcept {
  if (const char* reason = reject_other_than_f32_rows(call)) return reason;
  const DType result = call.output.dtype;
  return result == DType::f32 || result == DType::bf16 ? nullptr : "the result is neither f32 nor bf16";
}

template <typename Y>
void layer_norm_rows(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.output.shape;
  const int64_t columns = shape.back(), rows = product(shape, 0, shape.rank() - 1);
  if (columns == 0) return;
  const auto& attrs = args.call.as<LayerNormAttrs>();
  const float* x = static_cast<const float*>(args.inputs[0]);
  Y* y = static_cast<Y*>(args.output);
  const float* weight = attrs.affine ? static_cast<const float*>(args.inputs[1]) : nullptr;
  const float* bias = attrs.affine ? static_cast<const float*>(args.inputs[2]) : nullptr;
  for_parts(args.pool, rows, rows_per_task(columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (attrs.affine)
        layer_norm_row<true>(x + row * columns, weight, bias, y + row * columns, columns, attrs.eps);
      else
        layer_norm_row<false>(x + row * columns, weight, bias, y + row * columns, columns, attrs.eps);
    }
  });
}

void layer_norm_run(const KernelArgs& args) noexcept {
  args.call.output.dtype == DType::bf16 ? layer_norm_rows<uint16_t>(args) : layer_norm_rows<float>(args);
}

}  // namespace

EASEL_ISA_KERNEL(layer_norm) = {
    .name = EASEL_ISA_NAME, .isa = kUnitIsa, .reject = layer_norm_reject, .run = layer_norm_run, .in_place = 1};

}  // namespace easel::ops
