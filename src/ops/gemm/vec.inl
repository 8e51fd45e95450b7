// The vectors of simd.h, with what the matrix kernels need beside them: 16-bit weights, and the shape of a panel.
namespace easel::ops {
namespace {

using F = simd::Vec;
using simd::load;
using simd::store;
constexpr int kW = static_cast<int>(simd::kLanes);

inline F zero() { return F{}; }
inline F splat(float x) { return simd::fill(x); }
/// a · b + c; the unit's options make it one operation where there is one.
inline F fma(F a, F b, F c) { return a * b + c; }

/// To an aligned address past the caches. end_stores() makes such stores visible to other threads.
inline void store_past(float* p, F x) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, x);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, x);
#else
  store(p, x);
#endif
}
inline void end_stores() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

#if defined(__AVX512F__)

/// Vectors per full panel: 6 rows × 4 vectors fill 24 of 32 registers.
constexpr int kPanelVectors = 4;

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

/// 6 rows × 2 vectors fill 12 of 16 registers.
constexpr int kPanelVectors = 2;

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

constexpr int kPanelVectors = 2;

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

#if defined(__AVX512BF16__)

/// 2·kW floats → as many bf16, in their order.
inline void store_bf16(float* p, F lower, F upper) {
  _mm512_storeu_si512(p, (__m512i)_mm512_cvtne2ps_pbh(upper, lower));
}
/// The same, but each word is a pair of elements from the two vectors.
inline void store_pairs(float* p, F even, F odd) {
  const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
  const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
  _mm512_storeu_si512(p, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

#endif

/// Columns of a full panel.
constexpr int kPanel = kPanelVectors * kW;

}  // namespace
}  // namespace easel::ops
