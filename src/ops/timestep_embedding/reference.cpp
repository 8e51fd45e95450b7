// A few hundred numbers per step. What matters is that each is rounded where diffusers rounds it: frequencies and
// angles are f32, and at angles of up to 1000 another rounding would move the results by 1e-5.
#include <cmath>

#include "ops/isa.h"

namespace easel::ops {

namespace {

const char* reject(const OpCall& call) noexcept {
  if (call.inputs[0].dtype != DType::f32) return "needs f32";
  return nullptr;
}

void run(const KernelArgs& args) noexcept {
  const auto& attrs = args.call.as<TimestepEmbeddingAttrs>();
  const ArgType& t = args.call.inputs[0];
  const int64_t half = attrs.dim / 2;
  // exponent = -log(max_period) * arange(half) / (half - downscale_freq_shift), each operation rounded to f32
  const auto scale = static_cast<float>(attrs.scale);
  const auto log_period = static_cast<float>(-std::log(attrs.max_period));
  const auto divisor = static_cast<float>(static_cast<double>(half) - attrs.downscale_freq_shift);
  for (int64_t row = 0; row < t.shape[0]; ++row) {
    float* y = static_cast<float*>(args.output) + row * attrs.dim;
    const float time = static_cast<const float*>(args.inputs[0])[row * t.strides[0]];
    for (int64_t i = 0; i < half; ++i) {
      const float product = log_period * static_cast<float>(i);
      const float exponent = product / divisor;
      const auto frequency = static_cast<float>(std::exp(static_cast<double>(exponent)));
      const float angle = time * frequency;
      const double scaled = scale * angle;
      const auto sine = static_cast<float>(std::sin(scaled)), cosine = static_cast<float>(std::cos(scaled));
      y[i] = attrs.flip_sin_to_cos ? cosine : sine;
      y[half + i] = attrs.flip_sin_to_cos ? sine : cosine;
    }
    if (attrs.dim % 2) y[attrs.dim - 1] = 0;
  }
}

}  // namespace

EASEL_KERNEL(timestep_embedding_reference) = {.name = "reference", .reject = reject, .run = run};

}  // namespace easel::ops
