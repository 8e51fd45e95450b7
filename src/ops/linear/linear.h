#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Fully connected layer over the last axis: y = act(x · wᵀ + t · uᵀ + bias) + residual.
/// x: [..., K] f32|bf16; w: [N, K] f32|bf16|f16; bias: [N] f32; residual: shape of y, f32 → y: [..., N] of dtype
/// `result`, f32 or bf16.
/// With activation geglu, w is [2·N, K] and y = a · gelu_erf(g), where a and g are the first and the last N columns.
/// With low_rank there is t: [..., R] f32|bf16, rows as x, and u: [rows of w, R] of w's dtype, 2 · R < rows of w: the
/// side branch of an adapter, t = x · downᵀ. Without, the term is not there.
/// The dtype of w is the precision of the products: bf16 weights also round x and t to bf16; sums are f32. A constant w
/// may stay in blocks of any BlockFormat (weight-only quantization): its values are decoded to f32 and rounded to its
/// dtype, so the result has the bits that the expanded weight gives. Inputs in order: x, w, [bias], [residual], [t, u].
/// Throws shape_mismatch.
struct LinearAttrs {
  bool bias = false;
  bool residual = false;
  Activation activation = Activation::none;
  DType result = DType::f32;
  bool low_rank = false;
  /// Index of t; u follows it.
  size_t low_rank_input() const { return 2u + bias + residual; }
  bool operator==(const LinearAttrs&) const = default;
};

ValueType infer(const LinearAttrs& attrs, Inputs inputs);
std::string to_string(const LinearAttrs& attrs);

}  // namespace easel::ops
