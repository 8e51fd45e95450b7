#include "ops/binary/broadcast.h"
#include "ops/isa.h"

namespace easel::ops {

namespace {

double combine(BinaryKind kind, double a, double b) {
  switch (kind) {
    case BinaryKind::add: return a + b;
    case BinaryKind::sub: return a - b;
    case BinaryKind::mul: return a * b;
    case BinaryKind::div: return a / b;
  }
  return 0;
}

void run(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.output.shape;
  const Shape a = broadcast_strides(args.call.inputs[0], shape), b = broadcast_strides(args.call.inputs[1], shape);
  const BinaryKind kind = args.call.as<BinaryAttrs>().kind;
  const int64_t count = shape.numel();
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, at_a = 0, at_b = 0;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const int64_t index = rest % shape[axis];
      rest /= shape[axis];
      at_a += index * a[axis];
      at_b += index * b[axis];
    }
    static_cast<float*>(args.output)[i] = static_cast<float>(combine(
        kind, static_cast<const float*>(args.inputs[0])[at_a], static_cast<const float*>(args.inputs[1])[at_b]));
  }
}

}  // namespace

EASEL_KERNEL(binary_reference) = {.name = "reference", .reject = binary_reject, .run = run, .in_place = 3};

}  // namespace easel::ops
