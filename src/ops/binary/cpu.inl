// Axes that both inputs and the result walk evenly are merged first. So equal shapes, scalars, a vector along the last
// axis and an offset per picture and channel all become a few nested loops around one of four inner ones.
#include "ops/binary/broadcast.h"
#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/simd.h"

namespace easel::ops {

namespace {

using namespace simd;

struct Loops {
  Shape shape, a, b, y;  // innermost axis last
};

Loops merge_axes(const OpCall& call) {
  const Shape& shape = call.output.shape;
  const Shape a = broadcast_strides(call.inputs[0], shape), b = broadcast_strides(call.inputs[1], shape);
  const Shape& y = call.output.strides;
  Loops loops;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const int64_t size = shape[axis];
    if (size == 1) continue;
    const int last = loops.shape.rank() - 1;
    if (last >= 0 && loops.a[last] == a[axis] * size && loops.b[last] == b[axis] * size &&
        loops.y[last] == y[axis] * size) {
      loops.shape[last] *= size;
      loops.a[last] = a[axis];
      loops.b[last] = b[axis];
      loops.y[last] = y[axis];
    } else {
      loops.shape.push_back(size);
      loops.a.push_back(a[axis]);
      loops.b.push_back(b[axis]);
      loops.y.push_back(y[axis]);
    }
  }
  if (loops.shape.empty()) loops = {{1}, {1}, {1}, {1}};
  return loops;
}

template <BinaryKind kKind, typename T>
T combine(T a, T b) {
  if constexpr (kKind == BinaryKind::add) return a + b;
  if constexpr (kKind == BinaryKind::sub) return a - b;
  if constexpr (kKind == BinaryKind::mul) return a * b;
  if constexpr (kKind == BinaryKind::div) return a / b;
}

// kA, kB: whether the input moves on (stride 1) or stays (stride 0).
template <BinaryKind kKind, bool kA, bool kB>
void inner(const float* a, const float* b, float* y, int64_t count) {
  const Vec fixed_a = fill(count && !kA ? *a : 0), fixed_b = fill(count && !kB ? *b : 0);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    store(y + i, combine<kKind>(kA ? load(a + i) : fixed_a, kB ? load(b + i) : fixed_b));
  if (i < count) {
    const int64_t n = count - i;
    store_n(y + i, combine<kKind>(kA ? load_n(a + i, n) : fixed_a, kB ? load_n(b + i, n) : fixed_b), n);
  }
}

template <BinaryKind kKind>
void row(const float* a, int64_t step_a, const float* b, int64_t step_b, float* y, int64_t step_y, int64_t count) {
  if (step_y != 1) {  // one channel beside others
    for (int64_t i = 0; i < count; ++i) y[i * step_y] = combine<kKind>(a[i * step_a], b[i * step_b]);
    return;
  }
  if (step_a == 1 && step_b == 1) return inner<kKind, true, true>(a, b, y, count);
  if (step_a == 1 && step_b == 0) return inner<kKind, true, false>(a, b, y, count);
  if (step_a == 0 && step_b == 1) return inner<kKind, false, true>(a, b, y, count);
  if (step_a == 0 && step_b == 0) return inner<kKind, false, false>(a, b, y, count);
  for (int64_t i = 0; i < count; ++i) y[i] = combine<kKind>(a[i * step_a], b[i * step_b]);
}

template <BinaryKind kKind>
void apply(const KernelArgs& args) {
  const Loops loops = merge_axes(args.call);
  const float* a = static_cast<const float*>(args.inputs[0]);
  const float* b = static_cast<const float*>(args.inputs[1]);
  float* y = static_cast<float*>(args.output);
  const int outer = loops.shape.rank() - 1;
  const int64_t columns = loops.shape.back(), rows = product(loops.shape, 0, outer);
  const int64_t step_a = loops.a[outer], step_b = loops.b[outer], step_y = loops.y[outer];
  // A task is some whole rows, or a piece of a long one.
  const int64_t pieces = std::max<int64_t>(1, (columns + kTaskElements - 1) / kTaskElements);
  for_parts(args.pool, rows * pieces, rows_per_task(columns), [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t index = part / pieces, from = part % pieces * kTaskElements;
      int64_t rest = index, at_a = from * step_a, at_b = from * step_b, at_y = from * step_y;
      for (int axis = outer - 1; axis >= 0; --axis) {
        const int64_t i = rest % loops.shape[axis];
        rest /= loops.shape[axis];
        at_a += i * loops.a[axis];
        at_b += i * loops.b[axis];
        at_y += i * loops.y[axis];
      }
      row<kKind>(a + at_a, step_a, b + at_b, step_b, y + at_y, step_y,
                 pieces == 1 ? columns : std::min(kTaskElements, columns - from));
    }
  });
}

void binary_run(const KernelArgs& args) noexcept {
  switch (args.call.as<BinaryAttrs>().kind) {
    case BinaryKind::add: return apply<BinaryKind::add>(args);
    case BinaryKind::sub: return apply<BinaryKind::sub>(args);
    case BinaryKind::mul: return apply<BinaryKind::mul>(args);
    case BinaryKind::div: return apply<BinaryKind::div>(args);
  }
}

}  // namespace

EASEL_ISA_KERNEL(binary) = {.name = EASEL_ISA_NAME,
                            .isa = kUnitIsa,
                            .reject = binary_reject,
                            .run = binary_run,
                            .in_place = 3,
                            .strided_output = true};

}  // namespace easel::ops
