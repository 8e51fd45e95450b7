#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Element-wise activation, f32 → f32, same shape.
/// silu: x·σ(x). gelu_erf: x·Φ(x) = x/2·(1 + erf(x/√2)). gelu_tanh: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
/// quick_gelu: x·σ(1.702·x). relu: max(x, 0). tanh. Throws invalid_argument for none, geglu and prelu. Hendrycks &
/// Gimpel 2016.
struct ActivationAttrs {
  Activation kind = Activation::silu;
  bool operator==(const ActivationAttrs&) const = default;
};

ValueType infer(const ActivationAttrs& attrs, Inputs inputs);
std::string to_string(const ActivationAttrs& attrs);

}  // namespace easel::ops
