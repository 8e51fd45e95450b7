// Softmax of one row at a time: largest, exponentials and their sum, division. Rows are short enough to stay in cache.
#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/simd.h"

namespace easel::ops {

namespace {

using namespace simd;

void softmax_row(const float* x, float* y, int64_t live, int64_t columns) {
  const int64_t whole = live / kLanes * kLanes, rest = live - whole;
  const IVec present = lanes_below(rest);
  Vec highest = select(present, load_n(x + whole, rest), fill(-__builtin_inff()));
  for (int64_t i = 0; i < whole; i += kLanes) highest = max(load(x + i), highest);
  const float top = largest(highest);

  // Exponentials and their sum, in four parts so that additions do not wait for each other.
  Vec sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= whole; i += 4 * kLanes)
    for (int k = 0; k < 4; ++k) {
      const Vec e = exp(load(x + i + k * kLanes) - top);
      store(y + i + k * kLanes, e);
      sums[k] += e;
    }
  for (; i < whole; i += kLanes) {
    const Vec e = exp(load(x + i) - top);
    store(y + i, e);
    sums[1] += e;
  }
  const Vec last = select(present, exp(load_n(x + whole, rest) - top), Vec{});
  sums[2] += last;
  const float factor = 1.0f / sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (i = 0; i < whole; i += kLanes) store(y + i, load(y + i) * factor);
  store_n(y + whole, last * factor, rest);
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
