#include "models/transformer_2d.h"

#include "base/fail.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

namespace {

constexpr double kGroupNormEps = 1e-6;
constexpr double kLayerNormEps = 1e-5;

// x: [B, S, C]; context: [B, T, D] → [B, S, C]. perturbation, where given: [B, 1, 1], 1 in the rows where the values
// alone count, as if each place looked at itself only (perturbed attention guidance: Ahn et al. 2024), else 0. images,
// where given: attended to as well (Ye et al. 2023).
Var attention_layer(const Scope& s, const Var& x, const Var& context, int heads, const Var* perturbation,
                    const ImagePromptInputs* images) {
  const int64_t channels = x.channels();
  const Var q = linear(s / "to_q", x, channels, /*bias=*/false);
  const Var k = linear(s / "to_k", context, channels, /*bias=*/false);
  const Var v = linear(s / "to_v", context, channels, /*bias=*/false);
  Var mixed = nn::attention(q, k, v, heads);
  if (images) mixed = mixed + image_attention(q, *images, s.path(), heads);
  if (perturbation) mixed = mixed * (nn::scalar(s.graph(), 1.0) - *perturbation) + v * *perturbation;
  return linear(s / "to_out" / "0", mixed, channels);
}

// x: [B, S, C] → [B, S, C]
Var feed_forward(const Scope& s, const Var& x) {
  const int64_t channels = x.channels();
  const Var hidden = geglu(linear(s / "net" / "0" / "proj", x, 8 * channels));  // [B, S, 4*C]
  return linear(s / "net" / "2", hidden, channels);
}

Var transformer_block(const Scope& s, Var x, const Var& context, const Transformer2DConfig& config) {
  const Var first = layer_norm(s / "norm1", x, kLayerNormEps);
  const bool perturbed = config.perturbed && !config.only_cross_attention && config.perturbed((s / "attn1").path());
  x = x + attention_layer(s / "attn1", first, config.only_cross_attention ? context : first, config.heads,
                          perturbed ? &config.perturbation : nullptr, nullptr);
  x = x + attention_layer(s / "attn2", layer_norm(s / "norm2", x, kLayerNormEps), context, config.heads, nullptr,
                          config.images);
  return x + feed_forward(s / "ff", layer_norm(s / "norm3", x, kLayerNormEps));
}

}  // namespace

Var transformer_2d(const Scope& s, const Var& x, const Var& context, const Transformer2DConfig& config) {
  const int64_t channels = x.channels();
  if (config.heads < 1 || channels % config.heads != 0)
    fail(ErrorCode::invalid_argument, "{}: {} channels do not divide into {} heads", s.path(), channels, config.heads);
  const SymShape picture = x.shape(), sequence = {x.dim(0), x.dim(1) * x.dim(2), channels};
  // Both published forms of the projections are one product per pixel; they differ in the shape of the stored weight.
  const auto project = [&](const char* name, const Var& value) {
    return config.use_linear_projection ? linear(s / name, value, channels) : conv1x1(s / name, value, channels);
  };
  Var h = project("proj_in", group_norm(s / "norm", x, config.groups, kGroupNormEps));
  h = reshape(h, sequence);  // [B, H*W, C]
  for (int i = 0; i < config.layers; ++i)
    h = transformer_block(s / "transformer_blocks" / static_cast<size_t>(i), h, context, config);
  h = reshape(h, picture);  // [B, H, W, C]
  return x + project("proj_out", h);
}

}  // namespace easel::models
