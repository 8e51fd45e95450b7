// Layers with weights, named as in the published checkpoints, and attention.
#pragma once

#include "nn/var.h"

namespace easel::nn {

/// y = x · weightᵀ + bias. x: [..., in] → [..., out]. Weights: weight [out, in], bias [out].
Var linear(const Scope& s, const Var& x, int64_t out, bool bias = true);

/// Zero padding before and after each axis.
struct Padding {
  int top = 0, left = 0, bottom = 0, right = 0;
  static Padding same(int pixels) { return {pixels, pixels, pixels, pixels}; }
};

/// x: [B, H, W, in] → [B, H', W', out]. Weights: weight [out, in, kernel, kernel], bias [out] if any.
Var conv2d(const Scope& s, const Var& x, int64_t out, int kernel, int stride, const Padding& padding, bool bias = true);
/// 3×3, stride 1, same size.
inline Var conv3x3(const Scope& s, const Var& x, int64_t out) { return conv2d(s, x, out, 3, 1, Padding::same(1)); }
inline Var conv1x1(const Scope& s, const Var& x, int64_t out) { return conv2d(s, x, out, 1, 1, {}); }

/// Weights: weight, bias [C].
Var group_norm(const Scope& s, const Var& x, int groups, double eps);
Var layer_norm(const Scope& s, const Var& x, double eps = 1e-5);

/// Rows of the table weight [count, dim]. ids: [...] i32 → [..., dim].
Var embedding(const Scope& s, const Var& ids, int64_t count, int64_t dim);

/// softmax(q · kᵀ / sqrt(D)) · v per head. q: [B, S, H·D]; k, v: [B, T, H·D] → [B, S, H·D]. Vaswani et al. 2017.
Var attention(const Var& q, const Var& k, const Var& v, int heads, bool causal = false);

}  // namespace easel::nn
