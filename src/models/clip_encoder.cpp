#include "models/clip_encoder.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

namespace {

Var self_attention(const Scope& s, const Var& x, const ClipEncoderLayer& layer) {
  const int64_t width = x.channels();
  const Var q = linear(s / "q_proj", x, width);
  const Var k = linear(s / "k_proj", x, width);
  const Var v = linear(s / "v_proj", x, width);
  return linear(s / "out_proj", nn::attention(q, k, v, layer.num_attention_heads, layer.causal),
                width);  // [B, S, width]
}

Var mlp(const Scope& s, const Var& x, const ClipEncoderLayer& layer) {
  const Var hidden = activation(linear(s / "fc1", x, layer.intermediate_size), layer.hidden_act);
  return linear(s / "fc2", hidden, layer.hidden_size);
}

}  // namespace

Var clip_encoder_layer(const Scope& s, Var x, const ClipEncoderLayer& layer) {
  x = x + self_attention(s / "self_attn", layer_norm(s / "layer_norm1", x, layer.layer_norm_eps), layer);
  return x + mlp(s / "mlp", layer_norm(s / "layer_norm2", x, layer.layer_norm_eps), layer);
}

}  // namespace easel::models
