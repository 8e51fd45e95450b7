#include "nn/layers.h"

#include <cmath>

namespace easel::nn {

Var linear(const Scope& s, const Var& x, int64_t out, bool bias) {
  std::vector<Var> inputs = {x, s.weight("weight", {out, x.channels()})};
  if (bias) inputs.push_back(s.weight("bias", {out}));
  return s.add(ops::LinearAttrs{.bias = bias}, inputs);
}

Var conv2d(const Scope& s, const Var& x, int64_t out, int kernel, int stride, const Padding& padding, bool bias) {
  ops::Conv2dAttrs attrs;
  attrs.stride = stride;
  attrs.pad_top = padding.top;
  attrs.pad_left = padding.left;
  attrs.pad_bottom = padding.bottom;
  attrs.pad_right = padding.right;
  attrs.bias = bias;
  std::vector<Var> inputs = {x, s.weight("weight", {out, x.channels(), kernel, kernel})};
  if (bias) inputs.push_back(s.weight("bias", {out}));
  return s.add(attrs, inputs);
}

Var group_norm(const Scope& s, const Var& x, int groups, double eps) {
  const int64_t channels = x.channels();
  return s.add(ops::GroupNormAttrs{groups, eps}, {x, s.weight("weight", {channels}), s.weight("bias", {channels})});
}

Var layer_norm(const Scope& s, const Var& x, double eps) {
  const int64_t channels = x.channels();
  return s.add(ops::LayerNormAttrs{eps}, {x, s.weight("weight", {channels}), s.weight("bias", {channels})});
}

Var embedding(const Scope& s, const Var& ids, int64_t count, int64_t dim) {
  return s.add(ops::EmbeddingAttrs{}, {ids, s.weight("weight", {count, dim})});
}

Var attention(const Var& q, const Var& k, const Var& v, int heads, bool causal) {
  const int64_t head_size = q.channels() / heads;
  const auto split = [&](const Var& x) {
    return permute(reshape(x, {x.dim(0), x.dim(1), heads, head_size}), {0, 2, 1, 3});  // [B, H, S, D]
  };
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_size));
  const Var scores = matmul(split(q), split(k), /*transpose_b=*/true, scale);  // [B, H, S, T]
  const Var mixed = matmul(softmax(scores, causal), split(v));                 // [B, H, S, D]
  return reshape(permute(mixed, {0, 2, 1, 3}), q.shape());                     // [B, S, H*D]
}

}  // namespace easel::nn
