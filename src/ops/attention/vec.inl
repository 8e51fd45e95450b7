// What attention needs beside the vector type of simd.h: powers of two, pairs of bf16, transposition.
// In bf16 units a float of the packed operands stands for a pair of bf16 numbers (the lower index in the lower half),
// so that loads, broadcasts and layouts are the same as for f32 and only dot() differs.
#pragma once

#include "ops/simd.h"

namespace easel::ops {
namespace {

using simd::kLanes;
using simd::load;
using simd::max;
using simd::store;
using simd::Vec;

inline Vec broadcast(float x) { return simd::fill(x); }
inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }

/// How exactly exp2() works.
enum class Exp {
  rough,  ///< relative error 7.5e-5, ample before rounding to bf16
  fine,   ///< 1.5e-7
  exact,  ///< 7e-8 and 2^0 = 1, for factors that are multiplied many times over
};

/// 2^x. 0 below the normal range, NaN for NaN; x must not be above 127.
template <Exp kExp>
inline Vec exp2(Vec x) {
#if defined(__AVX512F__)
  // vreduceps gives x - floor(x), and 0 for -inf; vscalefps multiplies by 2^floor(x): no range checks are needed.
  const Vec f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#else
  x = max(broadcast(-150.0f), x);
#if defined(__AVX2__)
  const Vec whole = _mm256_floor_ps(x);
#else
  // Adding 1.5·2^23 rounds to a whole number (to nearest; hence f may be negative, which the polynomial bears).
  const Vec magic = broadcast(12582912.0f);
  const Vec whole = (x - broadcast(0.5f)) + magic - magic;
#endif
  const Vec f = x - whole;
#endif
  // Minimax polynomials of 2^f on [0, 1).
  Vec p;
  if constexpr (kExp == Exp::rough) {
    p = fma(broadcast(0.0780245215f), f, broadcast(0.226067156f));
    p = fma(p, f, broadcast(0.695833564f));
    p = fma(p, f, broadcast(0.999925196f));
  } else if constexpr (kExp == Exp::fine) {
    p = fma(broadcast(0.00187757669f), f, broadcast(0.00898933969f));
    p = fma(p, f, broadcast(0.0558263175f));
    p = fma(p, f, broadcast(0.240153611f));
    p = fma(p, f, broadcast(0.693153083f));
    p = fma(p, f, broadcast(0.99999994f));
  } else {
    p = fma(broadcast(0.000217022549f), f, broadcast(0.00124396873f));
    p = fma(p, f, broadcast(0.00967884064f));
    p = fma(p, f, broadcast(0.0554833412f));
    p = fma(p, f, broadcast(0.24022983f));
    p = fma(p, f, broadcast(0.693147004f));
    p = fma(p, f, broadcast(1.0f));
  }
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, x);
#else
  // 2^whole is made in the exponent bits; below 2^-126 the result is cut to zero, but a NaN must stay.
  using Bits = simd::IVec;
  const Vec low = broadcast(-126.0f);
  const Vec safe = max(low, whole);
  const Bits exponent = (__builtin_convertvector(safe, Bits) + 127) << 23;
  const Bits kept = ~(Bits)(whole < low);
  return (Vec)((Bits)(p * (Vec)exponent) & kept);
#endif
}

#if defined(__AVX512BF16__)

/// acc + a.low·b.low + a.high·b.high, lane by lane.
inline Vec dot(Vec acc, Vec a, Vec b) { return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b); }

/// Rounds to bf16 pairs: lane i = (low[i], high[i]).
inline Vec pair(Vec low, Vec high) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (Vec)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

#else

inline Vec dot(Vec acc, Vec a, Vec b) { return fma(a, b, acc); }

#endif

/// target[c·target_stride + r] = source[r·source_stride + c] for rows, columns ≤ kSquare.
constexpr int64_t kSquare = 16;
inline void transpose_square(const float* source, int64_t source_stride, int64_t rows, int64_t columns, float* target,
                             int64_t target_stride) {
#if defined(__AVX512F__)
  const auto first = [](int64_t n) { return static_cast<__mmask16>((1u << n) - 1); };
  __m512 a[16], b[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r)
    b[r] = r < rows ? _mm512_maskz_loadu_ps(first(columns), source + r * source_stride) : _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int r = 0; r < 16; r += 2) {
    a[r] = _mm512_unpacklo_ps(b[r], b[r + 1]);
    a[r + 1] = _mm512_unpackhi_ps(b[r], b[r + 1]);
  }
  // Then quarters: lane q of b[4i + j] holds column 4q + j of the rows 4i … 4i + 3.
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      const __m512d even = _mm512_castps_pd(a[i + j]), odd = _mm512_castps_pd(a[i + j + 2]);
      b[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(even, odd));
      b[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(even, odd));
    }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 even_top = _mm512_shuffle_f32x4(b[j], b[4 + j], 0x88);
    const __m512 odd_top = _mm512_shuffle_f32x4(b[j], b[4 + j], 0xdd);
    const __m512 even_end = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0x88);
    const __m512 odd_end = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0xdd);
    a[j] = _mm512_shuffle_f32x4(even_top, even_end, 0x88);
    a[4 + j] = _mm512_shuffle_f32x4(odd_top, odd_end, 0x88);
    a[8 + j] = _mm512_shuffle_f32x4(even_top, even_end, 0xdd);
    a[12 + j] = _mm512_shuffle_f32x4(odd_top, odd_end, 0xdd);
  }
#pragma GCC unroll 16
  for (int c = 0; c < 16; ++c)
    if (c < columns) _mm512_mask_storeu_ps(target + c * target_stride, first(rows), a[c]);
#else
  typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float* in = source + r * source_stride;
    float* out = target + r;
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4, in += 4, out += 4 * target_stride) {
      const Four a = *reinterpret_cast<const Four*>(in), b = *reinterpret_cast<const Four*>(in + source_stride),
                 d = *reinterpret_cast<const Four*>(in + 2 * source_stride),
                 e = *reinterpret_cast<const Four*>(in + 3 * source_stride);
      const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5),
                 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Four de_low = __builtin_shufflevector(d, e, 0, 4, 1, 5),
                 de_high = __builtin_shufflevector(d, e, 2, 6, 3, 7);
      *reinterpret_cast<Four*>(out) = __builtin_shufflevector(ab_low, de_low, 0, 1, 4, 5);
      *reinterpret_cast<Four*>(out + target_stride) = __builtin_shufflevector(ab_low, de_low, 2, 3, 6, 7);
      *reinterpret_cast<Four*>(out + 2 * target_stride) = __builtin_shufflevector(ab_high, de_high, 0, 1, 4, 5);
      *reinterpret_cast<Four*>(out + 3 * target_stride) = __builtin_shufflevector(ab_high, de_high, 2, 3, 6, 7);
    }
    for (; c < columns; ++c, ++in, out += target_stride)
      for (int i = 0; i < 4; ++i) out[i] = in[i * source_stride];
  }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) target[c * target_stride + r] = source[r * source_stride + c];
#endif
}

/// The same for any size. Squares are a cache line wide: longer runs, with strides of many lines, evict each other.
inline void transpose(const float* source, int64_t source_stride, int64_t rows, int64_t columns, float* target,
                      int64_t target_stride) {
  for (int64_t r = 0; r < rows; r += kSquare)
    for (int64_t c = 0; c < columns; c += kSquare)
      transpose_square(source + r * source_stride + c, source_stride, rows - r < kSquare ? rows - r : kSquare,
                       columns - c < kSquare ? columns - c : kSquare, target + c * target_stride + r, target_stride);
}

}  // namespace
}  // namespace easel::ops
