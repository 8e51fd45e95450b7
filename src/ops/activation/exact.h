// Activations in double, for references.
#pragma once

#include <cmath>
#include <numbers>

#include "ops/schema.h"

namespace easel::ops {

inline double activate_exactly(Activation kind, double x) {
  switch (kind) {
    case Activation::silu: return x / (1 + std::exp(-x));
    case Activation::gelu_erf: return x * 0.5 * std::erfc(-x / std::numbers::sqrt2);
    case Activation::gelu_tanh:
      return x * 0.5 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::quick_gelu: return x / (1 + std::exp(-1.702 * x));
    case Activation::relu: return x > 0 || std::isnan(x) ? x : 0;
    case Activation::tanh: return std::tanh(x);
    case Activation::none:
    case Activation::geglu:
    case Activation::prelu: break;
  }
  return x;
}

inline double prelu_exactly(double x, double slope) { return x > 0 ? x : slope * x; }

}  // namespace easel::ops
