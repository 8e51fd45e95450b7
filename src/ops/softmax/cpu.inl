// Softmax of one row at a time: largest, exponentials and their sum, division. Rows are short enough to stay in cache.
#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/simd.h"

namespace easel::ops {

namespace {

using namespace simd;

void softmax_row(const float* x, float* y, int64_t live, int64_t columns) {
  Vec highest = fill(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= live; i += kLanes) highest = max(load(x + i), highest);
  float top = largest(highest);
  for (; i < live; ++i) top = x[i] > top ? x[i] : top;

  // Exponentials of the row, in four sums so that additions do not wait for each other.
  Vec sums[4] = {};
  for (i = 0; i + 4 * kLanes <= live; i += 4 * kLanes)
    for (int k = 0; k < 4; ++k) {
      const Vec e = exp(load(x + i + k * kLanes) - top);
      store(y + i + k * kLanes, e);
      sums[k] += e;
    }
  for (; i + kLanes <= live; i += kLanes) {
    const Vec e = exp(load(x + i) - top);
    store(y + i, e);
    sums[0] += e;
  }
  float total = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  if (i < live) {
    const Vec e = exp(load_n(x + i, live - i) - top);
    store_n(y + i, e, live - i);
    for (int64_t k = 0; k < live - i; ++k) total += y[i + k];
  }
  const float factor = 1.0f / total;
  for (i = 0; i + kLanes <= live; i += kLanes) store(y + i, load(y + i) * factor);
  for (; i < live; ++i) y[i] *= factor;
  for (i = live; i < columns; ++i) y[i] = 0;
}

const char* softmax_reject(const OpCall& call) noexcept {
  if (call.inputs[0].dtype != DType::f32) return "needs f32";
  if (!call.inputs[0].contiguous()) return "needs contiguous rows";
  return nullptr;
}

void softmax_run(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.inputs[0].shape;
  const bool causal = args.call.as<SoftmaxAttrs>().causal;
  const int64_t columns = shape.back(), rows = product(shape, 0, shape.rank() - 1);
  const int64_t height = shape.rank() > 1 ? shape[-2] : 1;
  const float* x = static_cast<const float*>(args.inputs[0]);
  float* y = static_cast<float*>(args.output);
  for_parts(args.pool, rows, rows_per_task(columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      softmax_row(x + row * columns, y + row * columns, causal ? std::min(columns, row % height + 1) : columns,
                  columns);
  });
}

}  // namespace

EASEL_ISA_KERNEL(softmax) = {
    .name = EASEL_ISA_NAME, .isa = kUnitIsa, .reject = softmax_reject, .run = softmax_run, .in_place = 1};

}  // namespace easel::ops
