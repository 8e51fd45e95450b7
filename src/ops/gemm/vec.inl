// The vector register of the unit's instruction set, as the matrix kernels need it: F holds kW floats.
// Included by every cpu_<isa>.cpp of linear and conv2d through gemm.inl; everything has internal linkage.
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace easel::ops {
namespace {

#if defined(__AVX512F__)

using F = __m512;
constexpr int kW = 16;
/// Vectors per full panel: 6 rows × 4 vectors fill 24 of 32 registers.
constexpr int kPanelVectors = 4;

inline F zero() { return _mm512_setzero_ps(); }
inline F splat(float x) { return _mm512_set1_ps(x); }
inline F load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, F x) { _mm512_storeu_ps(p, x); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
inline F load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
inline void store_first(float* p, F x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }

/// Pairs of 16-bit weights, one pair per 32-bit lane → the even and the odd elements as floats.
inline void split_bf16(const uint32_t* p, F& even, F& odd) {
  const __m512i words = _mm512_loadu_si512(p);
  even = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
  odd = _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
inline void split_f16(const uint32_t* p, F& even, F& odd) {
  const __m512i words = _mm512_loadu_si512(p);
  even = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
  odd = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16)));
}

#elif defined(__AVX2__)

using F = __m256;
constexpr int kW = 8;
/// 6 rows × 2 vectors fill 12 of 16 registers.
constexpr int kPanelVectors = 2;

inline F zero() { return _mm256_setzero_ps(); }
inline F splat(float x) { return _mm256_set1_ps(x); }
inline F load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, F x) { _mm256_storeu_ps(p, x); }
inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F load_first(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
inline void store_first(float* p, F x, int n) { _mm256_maskstore_ps(p, first(n), x); }

inline void split_bf16(const uint32_t* p, F& even, F& odd) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  even = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
  odd = _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xffff0000u))));
}
inline void split_f16(const uint32_t* p, F& even, F& odd) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i low = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
  // 16-bit lanes come out as e0…3 o0…3 e4…7 o4…7; the permutation brings the halves together.
  const __m256i packed =
      _mm256_permute4x64_epi64(_mm256_packus_epi32(low, _mm256_srli_epi32(words, 16)), 0b11'01'10'00);
  even = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
  odd = _mm256_cvtph_ps(_mm256_extracti128_si256(packed, 1));
}

#else

typedef float F __attribute__((vector_size(16)));
constexpr int kW = 4;
constexpr int kPanelVectors = 2;

inline F zero() { return F{}; }
inline F splat(float x) { return F{x, x, x, x}; }
inline F load(const float* p) {
  F x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline void store(float* p, F x) { std::memcpy(p, &x, sizeof x); }
inline F fma(F a, F b, F c) { return a * b + c; }
inline F load_first(const float* p, int n) {
  F x{};
  for (int i = 0; i < n; ++i) x[i] = p[i];
  return x;
}
inline void store_first(float* p, F x, int n) {
  for (int i = 0; i < n; ++i) p[i] = x[i];
}

inline void split_bf16(const uint32_t* p, F& even, F& odd) {
  for (int i = 0; i < kW; ++i) {
    even[i] = std::bit_cast<float>(p[i] << 16);
    odd[i] = std::bit_cast<float>(p[i] & 0xffff0000u);
  }
}
inline void split_f16(const uint32_t* p, F& even, F& odd) {
  for (int i = 0; i < kW; ++i) {
    even[i] = f16_to_float(static_cast<uint16_t>(p[i]));
    odd[i] = f16_to_float(static_cast<uint16_t>(p[i] >> 16));
  }
}

#endif

/// Columns of a full panel.
constexpr int kPanel = kPanelVectors * kW;

}  // namespace
}  // namespace easel::ops
