#include "ops/activation/exact.h"
#include "ops/isa.h"
#include "ops/reject.h"

namespace easel::ops {

namespace {

void run(const KernelArgs& args) noexcept {
  const auto *x = static_cast<const float*>(args.inputs[0]), *slope = static_cast<const float*>(args.inputs[1]);
  auto* y = static_cast<float*>(args.output);
  const int64_t count = args.call.output.shape.numel(), channels = args.call.output.shape.back();
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(prelu_exactly(x[i], slope[i % channels]));
}

}  // namespace

EASEL_KERNEL(prelu_reference) = {.name = "reference", .reject = reject_other_than_f32_rows, .run = run, .in_place = 1};

}  // namespace easel::ops
