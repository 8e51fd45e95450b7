// Vectors of f32 as wide as the unit's instruction set has them, for bodies included from cpu_<isa>.cpp alone.
// Why not a library: docs/decisions/0003-own-vector-type.md. a * b + c becomes one fused operation where the unit has
// it.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

namespace easel::ops::simd {

#if defined(__AVX512F__)
#define EASEL_SIMD_BYTES 64
#elif defined(__AVX2__)
#define EASEL_SIMD_BYTES 32
#else
#define EASEL_SIMD_BYTES 16
#endif

// Vectors of the compiler: + - * / and comparisons work on them.
using Vec = float __attribute__((vector_size(EASEL_SIMD_BYTES)));
using IVec = int32_t __attribute__((vector_size(EASEL_SIMD_BYTES)));
using DVec = double __attribute__((vector_size(EASEL_SIMD_BYTES)));  // half as many lanes

/// Lanes of Vec.
inline constexpr int64_t kLanes = EASEL_SIMD_BYTES / 4;

// Scalars do not need filling in by hand in arithmetic, but do here.
inline Vec fill(float x) { return x - Vec{}; }
inline Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

/// The first n lanes (0 ≤ n ≤ kLanes); the others are 0, and their memory is not touched.
inline Vec load_n(const float* p, int64_t n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#elif defined(__AVX2__)
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane));
#else
  Vec v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}
inline void store_n(float* p, Vec v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
#elif defined(__AVX2__)
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane), v);
#else
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
}

/// The first n lanes, rounded to bf16 (to nearest, ties to even; a NaN stays one).
inline void store_bf16(uint16_t* p, Vec v, int64_t n = kLanes) {
#if defined(__AVX512BF16__)
  const __m256i half = (__m256i)_mm512_cvtneps_pbh(v);
  if (n == kLanes)
    _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(p), half);
  else
    _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << n) - 1), half);
#else
  using Bits = uint32_t __attribute__((vector_size(EASEL_SIMD_BYTES)));
  using Half = uint16_t __attribute__((vector_size(EASEL_SIMD_BYTES / 2)));
  const Bits bits = reinterpret_cast<Bits>(v);
  const Bits rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const Half half = __builtin_convertvector(v == v ? rounded : (bits >> 16) | 0x40, Half);
  std::memcpy(p, &half, static_cast<size_t>(n) * 2);
#endif
}

/// The first n elements, widened; the other lanes are 0, and their memory is not touched.
inline Vec load_bf16(const uint16_t* p, int64_t n) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  const __m256i half = n == kLanes ? _mm256_loadu_si256(reinterpret_cast<const __m256i_u*>(p))
                                   : _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p);
  return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
#else
  using Bits = uint32_t __attribute__((vector_size(EASEL_SIMD_BYTES)));
  using Half = uint16_t __attribute__((vector_size(EASEL_SIMD_BYTES / 2)));
  Half half{};
  std::memcpy(&half, p, static_cast<size_t>(n) * 2);
  return reinterpret_cast<Vec>(__builtin_convertvector(half, Bits) << 16);
#endif
}

/// n elements of f32 or bf16 in the first lanes, zeros in the others.
inline Vec load_as(const float* p, int64_t n) { return n < kLanes ? load_n(p, n) : load(p); }
inline Vec load_as(const uint16_t* p, int64_t n) { return load_bf16(p, n); }

/// The first n lanes to f32 or, rounded, to bf16.
inline void store_as(float* p, Vec v, int64_t n) { n < kLanes ? store_n(p, v, n) : store(p, v); }
inline void store_as(uint16_t* p, Vec v, int64_t n) { store_bf16(p, v, n); }

/// a < b ? a : b and a > b ? a : b per lane: b where either is NaN.
inline Vec min(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_min_ps(a, b);
#elif defined(__x86_64__)
  return _mm_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}
inline Vec max(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#elif defined(__x86_64__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

/// `yes` in the lanes where `mask` is all ones (the result of a comparison), `no` where it is 0.
inline Vec select(IVec mask, Vec yes, Vec no) { return mask ? yes : no; }
/// All ones in the first n lanes, 0 in the others.
inline IVec lanes_below(int64_t n) {
  IVec lane{};
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return lane < static_cast<int32_t>(n);
}
inline Vec abs(Vec x) { return reinterpret_cast<Vec>(reinterpret_cast<IVec>(x) & 0x7FFFFFFF); }
inline IVec negative(Vec x) { return reinterpret_cast<IVec>(x) < 0; }

/// Sum and largest of all lanes, halves added pairwise: one order for each instruction set.
inline float sum(Vec v) {
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof v);
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}
inline float largest(Vec v) {
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof v);
  float result = lanes[0];
  for (int64_t i = 1; i < kLanes; ++i) result = lanes[i] > result ? lanes[i] : result;
  return result;
}

/// eˣ to about 1 unit in the last place; 0 below −87.7, infinite above 88.37; NaN stays NaN.
inline Vec exp(Vec x) {
  x = min(fill(89.0f), max(fill(-88.0f), x));
  // x = n·ln 2 + r with |r| ≤ ln 2 / 2. Adding 1.5·2²³ rounds to a whole number, which stands in the low bits.
  const Vec shifted = x * 1.44269504088896341f + 12582912.0f;
  const Vec n = shifted - 12582912.0f;
  Vec r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Vec p = fill(1.9875691500e-4f);  // Cephes expf
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * reinterpret_cast<Vec>((reinterpret_cast<IVec>(shifted) << 23) + 0x3F800000);
}

/// max(x, 0) and x > 0 ? x : slope·x; a NaN stays one.
inline Vec relu(Vec x) { return max(Vec{}, x); }
inline Vec prelu(Vec x, Vec slope) { return select(x > Vec{}, x, slope * x); }

inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }
inline Vec silu(Vec x) { return x / (1.0f + exp(-x)); }
inline Vec quick_gelu(Vec x) { return x / (1.0f + exp(x * -1.702f)); }
/// ½·(1 + tanh u) = σ(2u) makes this one exponential.
inline Vec gelu_tanh(Vec x) { return x / (1.0f + exp(x * -1.5957691216057308f * (1.0f + 0.044715f * (x * x)))); }

namespace detail {
// ln(1 − erf(t)) for t ≥ 0.92; 1 ulp of erf (coefficients by N. Juffa). The polynomial is meant for t ≤ 10.
inline Vec log_erfc(Vec t) {
  t = min(fill(10.0f), t);
  const Vec s = t * t;
  Vec r = -1.72853470e-5f * t + 3.83197126e-4f;
  const Vec u = -3.88396438e-3f * t + 2.42546219e-2f;
  r = r * s + u;
  r = r * t - 1.06777877e-1f;
  r = r * t - 6.34846687e-1f;
  r = r * t - 1.28717512e-1f;
  return r * t - t;
}
// erf(x) for |x| < 0.93.
inline Vec erf_small(Vec x) {
  const Vec s = x * x;
  Vec r = -5.96761703e-4f * s + 4.99119423e-3f;
  r = r * s - 2.67681349e-2f;
  r = r * s + 1.12819925e-1f;
  r = r * s - 3.76125336e-1f;
  r = r * s + 1.28379166e-1f;
  return r * x + x;
}
inline constexpr float kErfSplit = 0.927734375f;
}  // namespace detail

/// erf(x) to about 1 unit in the last place.
inline Vec erf(Vec x) {
  const Vec tail = 1.0f - exp(detail::log_erfc(abs(x)));
  return select(abs(x) > detail::kErfSplit, select(negative(x), -tail, tail), detail::erf_small(x));
}

/// x·Φ(x). The tail comes from the exponential itself, so small results keep their digits.
inline Vec gelu_erf(Vec x) {
  const Vec z = x * 0.70710678118654752f;
  const Vec tail = 0.5f * exp(detail::log_erfc(abs(z)));
  const Vec phi =
      select(abs(z) > detail::kErfSplit, select(negative(x), tail, 1.0f - tail), 0.5f + 0.5f * detail::erf_small(z));
  return x * phi;
}

/// tanh to about 1e-7 of its largest value.
inline Vec tanh(Vec x) { return 1.0f - 2.0f / (exp(x * 2.0f) + 1.0f); }

}  // namespace easel::ops::simd
