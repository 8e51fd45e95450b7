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
    case Activation::none:
    case Activation::geglu: break;
  }
  return x;
}

}  // namespace easel::ops
