// Panels of packed blocks → what tiles read: floats [K][columns], or pairs of bf16 [K/2][columns].

namespace easel::ops {
namespace {

using Ints = simd::IVec;

/// The blocks of kW columns, byte by byte; see tensor/block_decode.h.
struct ColumnLanes {
  using Int = Ints;
  using Real = F;
  const uint8_t* bytes;
  int64_t stride;  ///< from a byte to the next one of the same block

#if defined(__AVX512F__)
  Ints byte(int j) const { return (Ints)_mm512_cvtepu8_epi32(load16(j)); }
  Ints signed_byte(int j) const { return (Ints)_mm512_cvtepi8_epi32(load16(j)); }
  __m128i load16(int j) const { return _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(bytes + j * stride)); }
  static F half(Ints bits) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)bits)); }
  static F iq4(Ints q) { return _mm512_permutexvar_ps((__m512i)q, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(table()))); }
#elif defined(__AVX2__)
  Ints byte(int j) const { return (Ints)_mm256_cvtepu8_epi32(load8(j)); }
  Ints signed_byte(int j) const { return (Ints)_mm256_cvtepi8_epi32(load8(j)); }
  __m128i load8(int j) const { return _mm_loadl_epi64(reinterpret_cast<const __m128i_u*>(bytes + j * stride)); }
  static F half(Ints bits) {
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)bits, (__m256i)bits), 0b00'00'10'00);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
  }
  static F iq4(Ints q) {
    const F low = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(table()));
    const F high = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(table(), 8)));
    return simd::select(q > 7, _mm256_permutevar8x32_ps(high, (__m256i)q), _mm256_permutevar8x32_ps(low, (__m256i)q));
  }
#else
  Ints byte(int j) const {
    Ints out;
    for (int i = 0; i < kW; ++i) out[i] = bytes[j * stride + i];
    return out;
  }
  Ints signed_byte(int j) const { return (byte(j) ^ 128) - 128; }
  static F half(Ints bits) {
    F out;
    for (int i = 0; i < kW; ++i) out[i] = f16_to_float(static_cast<uint16_t>(bits[i]));
    return out;
  }
  static F iq4(Ints q) {
    F out;
    for (int i = 0; i < kW; ++i) out[i] = kIq4Values[q[i]];
    return out;
  }
#endif
#if defined(__AVX2__)
  static __m128i table() { return _mm_loadu_si128(reinterpret_cast<const __m128i_u*>(kIq4Values)); }
#endif
  static F real(Ints q) { return __builtin_convertvector(q, F); }
};

/// Rounds to the dtype of the weight, as packing an expanded one would.
template <DType dtype>
F round_to(F x) {
  if constexpr (dtype == DType::bf16) {
    uint16_t half[kW];
    simd::store_bf16(half, x);
    return simd::load_bf16(half, kW);
  }
  if constexpr (dtype == DType::f16) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
    return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < kW; ++i) x[i] = f16_to_float(f16_from_float(x[i]));
#endif
  }
  return x;
}

/// `steps` steps of the blocks of kW columns → target, whose rows are `width` words apart.
template <Words words, DType dtype>
void expand_columns(const Panels& panels, const ColumnLanes& first, int64_t steps, int width, float* target) {
  const int64_t step = panels.step(), step_bytes = panels.step_bytes();
  for (int64_t s = 0; s < steps; ++s) {
    float* out = target + s * (words == Words::bf16_dot ? step / 2 : step) * width;
    const ColumnLanes lanes{first.bytes + s * step_bytes * first.stride, first.stride};
    decode_block(panels.encoding, lanes, [&](int i, F even, F odd) {
      if constexpr (words == Words::bf16_dot) {
#if defined(__AVX512BF16__)
        store_pairs(out + i / 2 * width, even, odd);
#endif
      } else {
        store(out + i * width, round_to<dtype>(even));
        store(out + (i + 1) * width, round_to<dtype>(odd));
      }
    });
  }
}

/// Words word … word + count − 1 of a panel in blocks → target. word is the first one of a step, and so is word + count
/// unless the row ends there; then the last step is written whole.
template <Words words>
void expand_blocks(const Panels& panels, int64_t panel, const uint8_t* packed, int64_t word, int64_t count,
                   float* target) {
  const int width = panels.vectors(panel) * kW;
  const int64_t step = words == Words::bf16_dot ? panels.step() / 2 : panels.step();
  const uint8_t* bytes = packed + panel * panels.row_bytes() * kPanel + word / step * panels.step_bytes() * width;
  const int64_t steps = (count + step - 1) / step;
  for (int column = 0; column < width; column += kW) {
    const ColumnLanes lanes{bytes + column, width};
    if constexpr (words != Words::bf16_dot) {
      if (panels.dtype == DType::bf16)
        expand_columns<words, DType::bf16>(panels, lanes, steps, width, target + column);
      else if (panels.dtype == DType::f16)
        expand_columns<words, DType::f16>(panels, lanes, steps, width, target + column);
      else
        expand_columns<words, DType::f32>(panels, lanes, steps, width, target + column);
    } else {
      expand_columns<words, DType::f32>(panels, lanes, steps, width, target + column);
    }
  }
}

/// Words at whose multiples pieces of K may begin.
inline int64_t whole_words(Words words, const Panels& panels) {
  if (panels.encoding == BlockFormat::none) return 16;
  return std::max<int64_t>(16, words == Words::bf16_dot ? panels.step() / 2 : panels.step());
}

}  // namespace
}  // namespace easel::ops
