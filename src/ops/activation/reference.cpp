#include "ops/activation/exact.h"
#include "ops/isa.h"

namespace easel::ops {

namespace {

const char* reject(const OpCall& call) noexcept {
  if (call.inputs[0].dtype != DType::f32) return "needs f32";
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}

void run(const KernelArgs& args) noexcept {
  const Activation kind = args.call.as<ActivationAttrs>().kind;
  const float* x = static_cast<const float*>(args.inputs[0]);
  float* y = static_cast<float*>(args.output);
  const int64_t count = args.call.output.shape.numel();
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(activate_exactly(kind, x[i]));
}

}  // namespace

EASEL_KERNEL(activation_reference) = {.name = "reference", .reject = reject, .run = run, .in_place = 1};

}  // namespace easel::ops
