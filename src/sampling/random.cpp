// torch's vectorized normal_fill uses the Cephes single-precision log and sincos (Moshier) with fused multiply-adds.
// Every fused operation is written out, so any host gives the same bits.
#include "sampling/random.h"

#include <bit>
#include <cmath>

namespace easel::sampling {

namespace {

constexpr float kTwoPi = 6.283185307179586f;
constexpr int kBlock = 16;

// ln x for normal x > 0: x = m·2^e with m in [√½, √2), then a degree-8 polynomial in m − 1.
[[gnu::always_inline]] inline float log_cephes(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  float m = std::bit_cast<float>((bits & 0x807fffffu) | 0x3f000000u);
  float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
  const bool small = m < 0.707106781186547524f;
  e = small ? e - 1.0f : e;
  m = (m - 1.0f) + (small ? m : 0.0f);
  const float z = m * m;
  float y = 7.0376836292e-2f;
  y = __builtin_fmaf(y, m, -1.1514610310e-1f);
  y = __builtin_fmaf(y, m, 1.1676998740e-1f);
  y = __builtin_fmaf(y, m, -1.2420140846e-1f);
  y = __builtin_fmaf(y, m, 1.4249322787e-1f);
  y = __builtin_fmaf(y, m, -1.6668057665e-1f);
  y = __builtin_fmaf(y, m, 2.0000714765e-1f);
  y = __builtin_fmaf(y, m, -2.4999993993e-1f);
  y = __builtin_fmaf(y, m, 3.3333331174e-1f);
  y = y * m;
  y = __builtin_fmaf(y, z, e * -2.12194440e-4f);
  y = __builtin_fmaf(-z, 0.5f, y);
  return __builtin_fmaf(e, 0.693359375f, m + y);
}

// sin x and cos x for 0 ≤ x ≤ 2π: reduction by multiples of π/4 in three parts, then two short polynomials.
[[gnu::always_inline]] inline void sincos_cephes(float x, float& sine, float& cosine) {
  const int32_t octant = (static_cast<int32_t>(x * 1.27323954473516f) + 1) & ~1;
  const float y = static_cast<float>(octant);
  x = __builtin_fmaf(y, -0.78515625f, x);
  x = __builtin_fmaf(y, -2.4187564849853515625e-4f, x);
  x = __builtin_fmaf(y, -3.77489497744594108e-8f, x);
  const float z = x * x;
  float c = 2.443315711809948e-5f;
  c = __builtin_fmaf(c, z, -1.388731625493765e-3f);
  c = __builtin_fmaf(c, z, 4.166664568298827e-2f);
  c = c * z;
  c = __builtin_fmaf(c, z, -(z * 0.5f)) + 1.0f;
  float s = -1.9515295891e-4f;
  s = __builtin_fmaf(s, z, 8.3321608736e-3f);
  s = __builtin_fmaf(s, z, -1.6666654611e-1f);
  s = s * z;
  s = __builtin_fmaf(s, x, x);
  const bool swap = (octant & 2) != 0;
  const uint32_t sine_sign = static_cast<uint32_t>(octant & 4) << 29;
  const uint32_t cosine_sign = static_cast<uint32_t>(~(octant - 2) & 4) << 29;
  sine = std::bit_cast<float>(std::bit_cast<uint32_t>(swap ? c : s) ^ sine_sign);
  cosine = std::bit_cast<float>(std::bit_cast<uint32_t>(swap ? s : c) ^ cosine_sign);
}

// Uniforms in [0, 1) → normals, in place.
[[gnu::always_inline]] inline void box_muller_body(float* data, size_t blocks) {
  for (size_t block = 0; block < blocks; ++block, data += kBlock) {
    for (int j = 0; j < kBlock / 2; ++j) {
      const float radius = std::sqrt(-2.0f * log_cephes(1.0f - data[j]));
      float sine, cosine;
      sincos_cephes(kTwoPi * data[j + kBlock / 2], sine, cosine);
      data[j] = radius * cosine + 0.0f;  // + 0: torch adds the mean, which turns −0 into 0
      data[j + kBlock / 2] = radius * sine + 0.0f;
    }
  }
}

void box_muller_generic(float* data, size_t blocks) { box_muller_body(data, blocks); }

#if defined(__x86_64__) && defined(__GNUC__)
// The same operations with the hardware's fused multiply-add; without it each one is a library call.
__attribute__((target("avx2,fma"))) void box_muller_fma(float* data, size_t blocks) { box_muller_body(data, blocks); }

void box_muller(float* data, size_t blocks) {
  static const bool fused = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  (fused ? box_muller_fma : box_muller_generic)(data, blocks);
}
#else
void box_muller(float* data, size_t blocks) { box_muller_generic(data, blocks); }
#endif

}  // namespace

TorchGenerator::TorchGenerator(uint64_t seed) {
  state_[0] = static_cast<uint32_t>(seed);
  for (uint32_t j = 1; j < state_.size(); ++j) state_[j] = 1812433253u * (state_[j - 1] ^ (state_[j - 1] >> 30)) + j;
}

void TorchGenerator::refill() {
  constexpr size_t n = 624, m = 397;
  for (size_t j = 0; j < n; ++j) {
    const uint32_t y = (state_[j] & 0x80000000u) | (state_[(j + 1) % n] & 0x7fffffffu);
    state_[j] = state_[(j + m) % n] ^ (y >> 1) ^ ((y & 1u) ? 0x9908b0dfu : 0u);
  }
  position_ = 0;
}

uint32_t TorchGenerator::next() {
  if (position_ == static_cast<int>(state_.size())) refill();
  uint32_t y = state_[static_cast<size_t>(position_++)];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

double TorchGenerator::uniform_double() {
  const uint64_t high = next();
  const uint64_t low = next();
  return static_cast<double>((high << 32 | low) & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
}

double TorchGenerator::normal_double() {
  if (cached_) {
    const double value = *cached_;
    cached_.reset();
    return value;
  }
  const double u1 = uniform_double();
  const double u2 = uniform_double();
  const double radius = std::sqrt(-2.0 * std::log1p(-u2));
  const double theta = 2.0 * M_PI * u1;
  cached_ = radius * std::sin(theta);
  return radius * std::cos(theta);
}

void TorchGenerator::randn(std::span<float> out) {
  if (out.size() < kBlock) {
    for (float& value : out) value = static_cast<float>(normal_double());
    return;
  }
  const auto uniform = [this] { return static_cast<float>(next() & 0xffffffu) * 0x1p-24f; };
  for (float& value : out) value = uniform();
  box_muller(out.data(), out.size() / kBlock);
  if (out.size() % kBlock != 0) {
    const std::span<float> last = out.last(kBlock);
    for (float& value : last) value = uniform();
    box_muller(last.data(), 1);
  }
}

}  // namespace easel::sampling
