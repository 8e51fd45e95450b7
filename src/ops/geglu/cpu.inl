#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/simd.h"

namespace easel::ops {

namespace {

using namespace simd;

const char* geglu_reject(const OpCall& call) noexcept {
  if (call.inputs[0].dtype != DType::f32) return "needs f32";
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}

void geglu_run(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.output.shape;
  const int64_t columns = shape.back(), rows = product(shape, 0, shape.rank() - 1);
  for_parts(args.pool, rows, rows_per_task(2 * columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* a = static_cast<const float*>(args.inputs[0]) + row * 2 * columns;
      const float* gate = a + columns;
      float* y = static_cast<float*>(args.output) + row * columns;
      int64_t i = 0;
      for (; i + 2 * kLanes <= columns; i += 2 * kLanes) {
        const Vec first = load(a + i) * gelu_erf(load(gate + i));
        const Vec second = load(a + i + kLanes) * gelu_erf(load(gate + i + kLanes));
        store(y + i, first);
        store(y + i + kLanes, second);
      }
      for (; i < columns; i += kLanes) {
        const int64_t n = std::min(kLanes, columns - i);
        store_n(y + i, load_n(a + i, n) * gelu_erf(load_n(gate + i, n)), n);
      }
    }
  });
}

}  // namespace

EASEL_ISA_KERNEL(geglu) = {.name = EASEL_ISA_NAME, .isa = kUnitIsa, .reject = geglu_reject, .run = geglu_run};

}  // namespace easel::ops
