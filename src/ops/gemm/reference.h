// What the references of linear and conv2d share.
#pragma once

#include <cmath>

#include <easel/dtype.h>
#include <easel/half.h>

#include "ops/schema.h"

namespace easel::ops {

inline bool reference_weight(DType dtype) { return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16; }

/// Elements of a weight as doubles.
struct WeightReader {
  const void* data;
  DType dtype;
  double operator()(int64_t i) const {
    if (dtype == DType::f32) return static_cast<const float*>(data)[i];
    const uint16_t bits = static_cast<const uint16_t*>(data)[i];
    return dtype == DType::f16 ? f16_to_float(bits) : bf16_to_float(bits);
  }
};

/// Element-wise activations in double; geglu is the caller's.
inline double reference_activation(Activation activation, double x) {
  switch (activation) {
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::gelu_erf: return 0.5 * x * (1 + std::erf(x * 0.70710678118654752440));
    case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case Activation::quick_gelu: return x / (1 + std::exp(-1.702 * x));
    case Activation::none:
    case Activation::geglu: break;
  }
  return x;
}

}  // namespace easel::ops
