#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/simd.h"

namespace easel::ops {

namespace {

using namespace simd;

template <Vec (*kFunction)(Vec)>
void apply(const KernelArgs& args) {
  const float* x = static_cast<const float*>(args.inputs[0]);
  float* y = static_cast<float*>(args.output);
  for_parts(args.pool, args.call.output.shape.numel(), kTaskElements, [&](int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {  // two at a time: the functions are long chains
      const Vec a = kFunction(load(x + i)), b = kFunction(load(x + i + kLanes));
      store(y + i, a);
      store(y + i + kLanes, b);
    }
    for (; i < end; i += kLanes) {
      const int64_t n = std::min(kLanes, end - i);
      store_n(y + i, kFunction(load_n(x + i, n)), n);
    }
  });
}

const char* activation_reject(const OpCall& call) noexcept {
  if (call.inputs[0].dtype != DType::f32) return "needs f32";
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}

void activation_run(const KernelArgs& args) noexcept {
  switch (args.call.as<ActivationAttrs>().kind) {
    case Activation::silu: return apply<silu>(args);
    case Activation::gelu_erf: return apply<gelu_erf>(args);
    case Activation::gelu_tanh: return apply<gelu_tanh>(args);
    case Activation::quick_gelu: return apply<quick_gelu>(args);
    case Activation::relu: return apply<relu>(args);
    case Activation::tanh: return apply<simd::tanh>(args);
    case Activation::none:
    case Activation::geglu:
    case Activation::prelu: return;
  }
}

}  // namespace

EASEL_ISA_KERNEL(activation) = {
    .name = EASEL_ISA_NAME, .isa = kUnitIsa, .reject = activation_reject, .run = activation_run, .in_place = 1};

}  // namespace easel::ops
