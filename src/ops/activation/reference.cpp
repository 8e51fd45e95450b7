#include <cmath>
#include <numbers>

#include "ops/isa.h"

namespace easel::ops {

namespace {

double activate(Activation kind, double x) {
  switch (kind) {
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::gelu_erf: return x * 0.5 * std::erfc(-x / std::numbers::sqrt2);
    case Activation::gelu_tanh:
      return x * 0.5 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::quick_gelu: return x / (1 + std::exp(-1.702 * x));
    default: return x;
  }
}

const char* reject(const OpCall& call) noexcept {
  if (call.inputs[0].dtype != DType::f32) return "needs f32";
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}

void run(const KernelArgs& args) noexcept {
  const Activation kind = args.call.as<ActivationAttrs>().kind;
  const float* x = static_cast<const float*>(args.inputs[0]);
  float* y = static_cast<float*>(args.output);
  const int64_t count = args.call.output.shape.numel();
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(activate(kind, x[i]));
}

}  // namespace

EASEL_KERNEL(activation_reference) = {.name = "reference", .reject = reject, .run = run, .in_place = 1};

}  // namespace easel::ops
