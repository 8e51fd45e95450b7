// Weights in blocks → panels of plain words, for kernels that read them by tap while blocks run across taps.
//
// Decoding costs a small part of what a convolution does with a weight, and a layer's expanded panels are scratch
// memory of its call: the model keeps the blocks alone.

namespace easel::ops {
namespace {

/// Even and odd elements of a word of 16-bit weights.
template <DType dtype>
void store_words(uint32_t* p, F even, F odd) {
#if defined(__AVX512BF16__)
  if constexpr (dtype == DType::bf16) return store_pairs(reinterpret_cast<float*>(p), even, odd);
#endif
  uint16_t low[kW], high[kW];
  if constexpr (dtype == DType::bf16) {
    simd::store_bf16(low, even);
    simd::store_bf16(high, odd);
  } else {
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(low), _mm512_cvtps_ph(even, _MM_FROUND_TO_NEAREST_INT));
    _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(high), _mm512_cvtps_ph(odd, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
    _mm_storeu_si128(reinterpret_cast<__m128i_u*>(low), _mm256_cvtps_ph(even, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(reinterpret_cast<__m128i_u*>(high), _mm256_cvtps_ph(odd, _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < kW; ++i) low[i] = f16_from_float(even[i]), high[i] = f16_from_float(odd[i]);
#endif
  }
  for (int i = 0; i < kW; ++i) p[i] = low[i] | uint32_t{high[i]} << 16;
}

/// Channels that a task decodes: an even number whose taps are whole steps of blocks.
inline int64_t expanded_channels(const Panels& p) {
  const int64_t least = std::lcm(std::lcm(p.step(), p.taps) / p.taps, int64_t{2});
  return (32 + least - 1) / least * least;
}
/// Floats of scratch for each thread.
inline int64_t expanding_floats(const Panels& p) { return expanded_channels(p) * p.taps * kW; }

/// Channels first … last − 1 of the kW columns at `lanes` → `target`, their first word in the panel.
template <DType dtype>
void expand_channels(const Panels& p, const ColumnLanes& lanes, int64_t first, int64_t last, int width,
                     uint32_t* target, float* decoded) {
  const int64_t steps = ((last - first) * p.taps + p.step() - 1) / p.step();
  expand_columns<Words::f32, DType::f32>(p, lanes, steps, kW, decoded);
  const auto at = [&](int64_t channel, int64_t tap) {
    return channel < last ? load(decoded + ((channel - first) * p.taps + tap) * kW) : zero();
  };
  for (int64_t tap = 0; tap < p.taps; ++tap) {
    uint32_t* words = target + tap * p.padded_channels() / p.pair * width;
    if constexpr (dtype == DType::f32) {
      for (int64_t c = first; c < last; ++c) store(reinterpret_cast<float*>(words + c * width), at(c, tap));
    } else {
      for (int64_t c = first; c < last; c += 2) store_words<dtype>(words + c / 2 * width, at(c, tap), at(c + 1, tap));
    }
  }
}

/// All of a weight: `packed` as pack_blocks() made it → `target` as pack_panel() makes it of the expanded weight.
/// scratch: expanding_floats() for each thread.
inline void expand_panels(const Panels& p, const uint8_t* packed, uint32_t* target, float* scratch, ThreadPool& pool) {
  const int64_t run = expanded_channels(p), runs = (p.channels + run - 1) / run;
  pool.parallel_for(p.count() * runs, [&](int64_t task, int thread) {
    const int64_t panel = task / runs, first = task % runs * run, last = std::min(p.channels, first + run);
    const int width = p.vectors(panel) * kW;
    const uint8_t* bytes = packed + panel * p.row_bytes() * kPanel + first * p.taps / p.step() * p.step_bytes() * width;
    for (int column = 0; column < width; column += kW) {
      const ColumnLanes lanes{bytes + column, width};
      uint32_t* words = target + p.offset(panel) + column;
      float* decoded = scratch + thread * expanding_floats(p);
      if (p.dtype == DType::f32)
        expand_channels<DType::f32>(p, lanes, first, last, width, words, decoded);
      else if (p.dtype == DType::bf16)
        expand_channels<DType::bf16>(p, lanes, first, last, width, words, decoded);
      else
        expand_channels<DType::f16>(p, lanes, first, last, width, words, decoded);
    }
  });
}

}  // namespace
}  // namespace easel::ops
