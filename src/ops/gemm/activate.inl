// PLACEHOLDER
namespace easel::ops {
namespace {
inline F splat_like(float x) { return splat(x); }
inline F exp_approx(F x) {
  float t[kW];
  store(t, x);
  for (int i = 0; i < kW; ++i) t[i] = std::exp(t[i]);
  return load(t);
}
inline F silu(F x) { return x / (splat(1.0f) + exp_approx(-x)); }
inline F quick_gelu(F x) { return x / (splat(1.0f) + exp_approx(splat(-1.702f) * x)); }
inline F gelu_erf(F x) {
  float t[kW];
  store(t, x);
  for (int i = 0; i < kW; ++i) t[i] = 0.5f * t[i] * (1.0f + std::erf(t[i] * 0.70710678f));
  return load(t);
}
inline F gelu_tanh(F x) {
  float t[kW];
  store(t, x);
  for (int i = 0; i < kW; ++i)
    t[i] = 0.5f * t[i] * (1.0f + std::tanh(0.79788456f * (t[i] + 0.044715f * t[i] * t[i] * t[i])));
  return load(t);
}
}  // namespace
}  // namespace easel::ops
