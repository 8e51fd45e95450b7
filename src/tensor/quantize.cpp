// f32 → packed blocks; the layouts are in block_format.cpp.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <easel/half.h>

#include "tensor/block_decode.h"
#include "tensor/block_format.h"

namespace easel {

namespace {

constexpr int kSuper = 256;

void put_half(uint8_t* p, float value) noexcept {
  const uint16_t bits = f16_from_float(value);
  std::memcpy(p, &bits, 2);
}
float get_half(const uint8_t* p) noexcept {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f16_to_float(bits);
}

// A level from 0 to max; NaN (0 · infinity where a scale is subnormal) becomes 0.
uint8_t level(float value, int max) noexcept {
  if (!(value > 0)) return 0;
  return static_cast<uint8_t>(std::min(value, static_cast<float>(max)));
}
int nearest(float value, int min, int max) noexcept {
  if (!(value > static_cast<float>(min))) return min;
  if (value >= static_cast<float>(max)) return max;
  return static_cast<int>(std::nearbyint(value));
}
float inverse(float d) noexcept { return d == 0 ? 0 : 1 / d; }

// q4_0 and q5_0: the value of largest magnitude gets the lowest level, so that d has its sign.
void symmetric(const float* x, uint8_t* b, bool five) noexcept {
  float extreme = x[0];
  for (int i = 1; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  const int top = five ? 31 : 15;
  const float d = extreme / (five ? -16.0f : -8.0f), id = inverse(d), half = five ? 16.5f : 8.5f;
  put_half(b, d);
  uint8_t* qs = b + (five ? 6 : 2);
  uint32_t high = 0;
  for (int i = 0; i < 16; ++i) {
    const uint8_t low = level(x[i] * id + half, top), up = level(x[i + 16] * id + half, top);
    qs[i] = static_cast<uint8_t>((low & 15) | (up & 15) << 4);
    high |= static_cast<uint32_t>(low >> 4) << i | static_cast<uint32_t>(up >> 4) << (i + 16);
  }
  if (five) std::memcpy(b + 2, &high, 4);
}

// q4_1 and q5_1: levels from the least to the largest value.
void with_offset(const float* x, uint8_t* b, bool five) noexcept {
  const auto [low_at, high_at] = std::minmax_element(x, x + 32);
  const float min = *low_at, max = *high_at;
  const int top = five ? 31 : 15;
  const float d = (max - min) / static_cast<float>(top), id = inverse(d);
  put_half(b, d);
  put_half(b + 2, min);
  uint8_t* qs = b + (five ? 8 : 4);
  uint32_t high = 0;
  for (int i = 0; i < 16; ++i) {
    const uint8_t low = level((x[i] - min) * id + 0.5f, top), up = level((x[i + 16] - min) * id + 0.5f, top);
    qs[i] = static_cast<uint8_t>((low & 15) | (up & 15) << 4);
    high |= static_cast<uint32_t>(low >> 4) << i | static_cast<uint32_t>(up >> 4) << (i + 16);
  }
  if (five) std::memcpy(b + 4, &high, 4);
}

void q8_0(const float* x, uint8_t* b) noexcept {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float d = largest / 127, id = inverse(d);
  put_half(b, d);
  for (int i = 0; i < 32; ++i) {
    const float q = std::round(x[i] * id);  // halves away from zero
    b[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::isnan(q) ? 0 : std::clamp(q, -127.0f, 127.0f)));
  }
}

// Four numbers at once. Sums are added lane by lane, then halves pairwise: one order for every processor.
using Four = float __attribute__((vector_size(16)));

Four load(const float* p) noexcept {
  Four v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
float sum(Four v) noexcept { return (v[0] + v[2]) + (v[1] + v[3]); }
/// nearest() as numbers: adding 1.5·2²³ rounds to a whole one, ties to even.
Four nearest(Four v, float min, float max) noexcept {
  v = v > min ? v : Four{} + min;
  v = v < max ? v : Four{} + max;
  return (v + 12582912.0f) - 12582912.0f;
}

struct ScaleMin {
  float scale = 0, min = 0;  ///< x ≈ scale · level − min, min ≥ 0
};

// Of steps + 1 trial scales, each refined by weighted least squares, the one with the least weighted squared error. A
// sub-block is kParts times four numbers.
template <int kParts>
ScaleMin fit_scale_and_min(const float* values, int levels, const float* weighing, float first, int steps) noexcept {
  Four x[kParts], w[kParts], trial[kParts], sum_w{}, sum_x{};
  float min = values[0], max = values[0];
  for (int i = 0; i < 4 * kParts; ++i) {
    min = std::min(min, values[i]);
    max = std::max(max, values[i]);
  }
  for (int i = 0; i < kParts; ++i) {
    x[i] = load(values + 4 * i);
    w[i] = load(weighing + 4 * i);
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  min = std::min(min, 0.0f);
  const float lowest = min, range = max - min, top = static_cast<float>(levels);
  if (!(range > 0) || !(top / range <= std::numeric_limits<float>::max())) return {0, -min};
  const auto error_of = [&](float scale, float offset) {
    Four error{};
    for (int i = 0; i < kParts; ++i) {
      const Four difference = scale * trial[i] + offset - x[i];
      error += w[i] * (difference * difference);
    }
    return sum(error);
  };
  const float plain = top / range, all_w = sum(sum_w), all_x = sum(sum_x);
  float scale = 1 / plain;
  for (int i = 0; i < kParts; ++i) trial[i] = nearest(plain * (x[i] - lowest), 0, top);
  float best_error = error_of(scale, min);
  for (int step = 0; step <= steps; ++step) {
    const float inverse_scale = (first + 0.1f * static_cast<float>(step) + top) / range;
    Four of_l{}, of_l2{}, of_xl{};
    for (int i = 0; i < kParts; ++i) {
      trial[i] = nearest(inverse_scale * (x[i] - lowest), 0, top);
      of_l += w[i] * trial[i];
      of_l2 += w[i] * trial[i] * trial[i];
      of_xl += w[i] * trial[i] * x[i];
    }
    const float sum_l = sum(of_l), sum_l2 = sum(of_l2), sum_xl = sum(of_xl);
    const float determinant = all_w * sum_l2 - sum_l * sum_l;
    if (!(determinant > 0)) continue;
    float this_scale = (all_w * sum_xl - all_x * sum_l) / determinant;
    float this_min = (sum_l2 * all_x - sum_l * sum_xl) / determinant;
    if (this_min > 0) {
      this_min = 0;
      this_scale = sum_xl / sum_l2;
    }
    const float error = error_of(this_scale, this_min);
    if (error < best_error) {
      best_error = error;
      scale = this_scale;
      min = this_min;
    }
  }
  return {scale, -min};
}

// q4_k and q5_k: eight sub-blocks of 32, their scales and offsets in 6 bits of d and m.
void q45_k(const float* x, uint8_t* b, bool five) noexcept {
  const int levels = five ? 31 : 15;
  uint8_t q[kSuper];
  float weights[32];
  ScaleMin parts[8];
  float max_scale = 0, max_min = 0;
  for (int j = 0; j < 8; ++j) {
    float squares = 0;
    for (int i = 0; i < 32; ++i) squares += x[32 * j + i] * x[32 * j + i];
    const float mean = std::sqrt(squares / 32);
    for (int i = 0; i < 32; ++i) weights[i] = mean + std::fabs(x[32 * j + i]);
    parts[j] = five ? fit_scale_and_min<8>(x + 32 * j, levels, weights, -0.5f, 15)
                    : fit_scale_and_min<8>(x + 32 * j, levels, weights, -1.0f, 20);
    max_scale = std::max(max_scale, parts[j].scale);
    max_min = std::max(max_min, parts[j].min);
  }
  const float to_scale = max_scale > 0 ? 63 / max_scale : 0, to_min = max_min > 0 ? 63 / max_min : 0;
  uint8_t scale[8], min[8];
  for (int j = 0; j < 8; ++j) {
    scale[j] = static_cast<uint8_t>(nearest(to_scale * parts[j].scale, 0, 63));
    min[j] = static_cast<uint8_t>(nearest(to_min * parts[j].min, 0, 63));
  }
  put_half(b, max_scale / 63);
  put_half(b + 2, max_min / 63);
  uint8_t* packed = b + 4;
  for (int j = 0; j < 4; ++j) {
    packed[j] = static_cast<uint8_t>(scale[j] | (scale[j + 4] >> 4) << 6);
    packed[j + 4] = static_cast<uint8_t>(min[j] | (min[j + 4] >> 4) << 6);
    packed[j + 8] = static_cast<uint8_t>((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
  }
  // The levels again, now for the scales as they were rounded.
  const float d = get_half(b), m = get_half(b + 2);
  for (int j = 0; j < 8; ++j) {
    const float step = d * static_cast<float>(scale[j]), offset = m * static_cast<float>(min[j]);
    for (int i = 32 * j; i < 32 * j + 32; ++i)
      q[i] = step == 0 ? uint8_t{0} : static_cast<uint8_t>(nearest((x[i] + offset) / step, 0, levels));
  }
  uint8_t *high = b + 16, *qs = b + (five ? 48 : 16);
  if (five) std::fill_n(high, 32, uint8_t{0});
  for (int j = 0; j < 8; j += 2)
    for (int i = 0; i < 32; ++i) {
      const uint8_t low = q[32 * j + i], up = q[32 * j + 32 + i];
      qs[16 * j + i] = static_cast<uint8_t>((low & 15) | (up & 15) << 4);
      if (five) high[i] = static_cast<uint8_t>(high[i] | (low >> 4) << j | (up >> 4) << (j + 1));
    }
}

// Element i of a super-block in two bits, where q2_k and q3_k have it.
void put_two_bits(uint8_t* qs, int i, int q) noexcept {
  qs[i / 128 * 32 + i % 32] |= static_cast<uint8_t>(q << (i % 128 / 32 * 2));
}

// q2_k: sixteen sub-blocks of 16, their scales and offsets in 4 bits of d and m.
void q2_k(const float* x, uint8_t* b) noexcept {
  float weights[16];
  ScaleMin parts[16];
  float max_scale = 0, max_min = 0;
  for (int j = 0; j < 16; ++j) {
    for (int i = 0; i < 16; ++i) weights[i] = std::fabs(x[16 * j + i]);
    parts[j] = fit_scale_and_min<4>(x + 16 * j, 3, weights, -0.5f, 15);
    max_scale = std::max(max_scale, parts[j].scale);
    max_min = std::max(max_min, parts[j].min);
  }
  const float to_scale = max_scale > 0 ? 15 / max_scale : 0, to_min = max_min > 0 ? 15 / max_min : 0;
  std::fill_n(b, 80, uint8_t{0});
  put_half(b + 80, max_scale / 15);
  put_half(b + 82, max_min / 15);
  const float d = get_half(b + 80), m = get_half(b + 82);
  for (int j = 0; j < 16; ++j) {
    const int scale = nearest(to_scale * parts[j].scale, 0, 15), min = nearest(to_min * parts[j].min, 0, 15);
    b[j] = static_cast<uint8_t>(scale | min << 4);
    const float step = d * static_cast<float>(scale), offset = m * static_cast<float>(min);
    for (int i = 16 * j; i < 16 * j + 16; ++i)
      put_two_bits(b + 16, i, step == 0 ? 0 : nearest((x[i] + offset) / step, 0, 3));
  }
}

// The scale s for which s · level is nearest to the 16 values, weighted by their squares, with levels −n … n − 1.
float fit_scale(const float* values, float kLevels) noexcept {
  constexpr float kNothing = 1e-15f;
  float extreme = 0;
  for (int i = 0; i < 16; ++i)
    if (std::fabs(values[i]) > std::fabs(extreme)) extreme = values[i];
  if (std::fabs(extreme) < kNothing) return 0;
  const Four x[4] = {load(values), load(values + 4), load(values + 8), load(values + 12)};
  float scale = 0, best = 0;
  const auto consider = [&](float inverse_scale, bool first) {
    Four of_xl{}, of_l2{};
    for (const Four& part : x) {
      const Four l = nearest(inverse_scale * part, -kLevels, kLevels - 1), w = part * part;
      of_xl += w * part * l;
      of_l2 += w * l * l;
    }
    const float sum_xl = sum(of_xl), sum_l2 = sum(of_l2);
    if (!(sum_l2 > 0)) return;
    if (first || sum_xl * sum_xl > best * sum_l2) {
      scale = sum_xl / sum_l2;
      best = scale * sum_xl;
    }
  };
  consider(-kLevels / extreme, true);
  for (int step = -9; step <= 9; ++step)
    if (step != 0) consider(-(kLevels + 0.1f * static_cast<float>(step)) / extreme, false);
  return scale;
}

// q3_k: sixteen sub-blocks of 16, their scales in 6 bits of d.
void q3_k(const float* x, uint8_t* b) noexcept {
  float scales[16], largest = 0;
  for (int j = 0; j < 16; ++j) {
    scales[j] = fit_scale(x + 16 * j, 4);
    if (std::fabs(scales[j]) > std::fabs(largest)) largest = scales[j];
  }
  std::fill_n(b, block_bytes(BlockFormat::q3_k), uint8_t{0});
  const float to_scale = largest == 0 ? 0 : -32 / largest;
  put_half(b + 108, inverse(to_scale));
  const float d = get_half(b + 108);
  for (int j = 0; j < 16; ++j) {
    const int scale = nearest(to_scale * scales[j], -32, 31);
    b[96 + j % 8] |= static_cast<uint8_t>(((scale + 32) & 15) << (j / 8 * 4));
    b[104 + j % 4] |= static_cast<uint8_t>((scale + 32) >> 4 << (j / 4 * 2));
    const float step = d * static_cast<float>(scale);
    for (int i = 16 * j; i < 16 * j + 16; ++i) {
      const int q = step == 0 ? 4 : nearest(x[i] / step, -4, 3) + 4;
      put_two_bits(b + 32, i, q & 3);
      b[i % 32] |= static_cast<uint8_t>((q >> 2) << (i / 32));
    }
  }
}

void q6_k(const float* x, uint8_t* b) noexcept {
  constexpr float kNothing = 1e-15f;
  float scales[16], largest = 0;
  for (int j = 0; j < 16; ++j) {
    scales[j] = fit_scale(x + 16 * j, 32);
    if (std::fabs(scales[j]) > std::fabs(largest)) largest = scales[j];
  }
  std::fill_n(b, block_bytes(BlockFormat::q6_k), uint8_t{0});
  if (std::fabs(largest) < kNothing) {
    // Level 32 is zero, whatever the scales.
    std::fill_n(b + 128, 64, uint8_t{0xaa});
    return;
  }
  const float to_scale = -128 / largest;
  put_half(b + 208, 1 / to_scale);
  const float d = get_half(b + 208);
  for (int j = 0; j < 16; ++j) {
    const int scale = nearest(to_scale * scales[j], -128, 127);
    b[192 + j] = static_cast<uint8_t>(scale);
    const float step = d * static_cast<float>(scale);
    for (int i = 16 * j; i < 16 * j + 16; ++i) {
      const int q = step == 0 ? 32 : nearest(x[i] / step, -32, 31) + 32;
      const int half = i / 128, at = i % 128;
      b[half * 64 + at % 64] |= static_cast<uint8_t>((q & 15) << (at / 64 * 4));
      b[128 + half * 32 + at % 32] |= static_cast<uint8_t>((q >> 4) << (at / 32 * 2));
    }
  }
}

// Which of kIq4Values is nearest. Halfway points are multiples of a half, so each half belongs to one of them.
class NearestIq4 {
 public:
  NearestIq4() {
    for (int i = 0; i < kHalves; ++i) {
      const float value = (static_cast<float>(i) + 0.5f) / 2 + kIq4Values[0];
      int best = 0;
      for (int q = 1; q < 16; ++q)
        if (std::fabs(value - kIq4Values[q]) < std::fabs(value - kIq4Values[best])) best = q;
      table_[i] = static_cast<uint8_t>(best);
    }
  }
  uint8_t operator()(float value) const noexcept {
    const float at = 2 * (value - kIq4Values[0]);
    if (!(at > 0)) return 0;
    return at < kHalves ? table_[static_cast<int>(at)] : uint8_t{15};
  }

 private:
  static constexpr int kHalves = 2 * (kIq4Values[15] - kIq4Values[0]);
  uint8_t table_[kHalves];
};

const NearestIq4& nearest_iq4() noexcept {
  static const NearestIq4 kTable;
  return kTable;
}

// The scale s for which s · table value is nearest to the 32 values, weighted by their squares.
float fit_iq4_scale(const float* x) noexcept {
  constexpr float kNothing = 1e-15f, kFirst = kIq4Values[0];
  const NearestIq4& index = nearest_iq4();
  float extreme = 0;
  for (int i = 0; i < 32; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  if (std::fabs(extreme) < kNothing) return 0;
  float scale = 0, best = 0;
  const auto consider = [&](float inverse_scale, bool first) {
    float sum_xq = 0, sum_q2 = 0;
    for (int i = 0; i < 32; ++i) {
      const auto q = static_cast<float>(kIq4Values[index(inverse_scale * x[i])]);
      const float w = x[i] * x[i];
      sum_xq += w * q * x[i];
      sum_q2 += w * q * q;
    }
    if (!(sum_q2 > 0) || !(first || sum_xq * sum_xq > best * sum_q2)) return;
    scale = sum_xq / sum_q2;
    best = scale * sum_xq;
  };
  consider(-kFirst / extreme, true);
  for (int step = -7; step <= 7; ++step) consider((kFirst + static_cast<float>(step)) / extreme, false);
  return scale;
}

void iq4_levels(const float* x, float step, uint8_t* qs) noexcept {
  const NearestIq4& index = nearest_iq4();
  const float id = inverse(step);
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>(index(id * x[i]) | index(id * x[i + 16]) << 4);
}

void iq4_nl(const float* x, uint8_t* b) noexcept {
  put_half(b, fit_iq4_scale(x));
  iq4_levels(x, get_half(b), b + 2);
}

// iq4_xs: eight sub-blocks of 32, their scales in 6 bits of d.
void iq4_xs(const float* x, uint8_t* b) noexcept {
  float scales[8], largest = 0;
  for (int j = 0; j < 8; ++j) {
    scales[j] = fit_iq4_scale(x + 32 * j);
    if (std::fabs(scales[j]) > std::fabs(largest)) largest = scales[j];
  }
  std::fill_n(b, 8, uint8_t{0});
  put_half(b, -largest / 32);
  const float d = get_half(b), id = inverse(d);
  for (int j = 0; j < 8; ++j) {
    const int scale = nearest(id * scales[j], -32, 31);
    b[4 + j / 2] |= static_cast<uint8_t>(((scale + 32) & 15) << (j % 2 * 4));
    b[2 + j / 4] |= static_cast<uint8_t>((scale + 32) >> 4 << (j % 4 * 2));
    iq4_levels(x + 32 * j, d * static_cast<float>(scale), b + 8 + 16 * j);
  }
}

}  // namespace

bool can_quantize(BlockFormat format) noexcept {
  return std::ranges::find(kBlockFormats, format) != std::end(kBlockFormats);
}

void quantize(BlockFormat format, const float* values, void* blocks, int64_t count) noexcept {
  auto* b = static_cast<uint8_t*>(blocks);
  const int64_t elements = block_elements(format), bytes = block_bytes(format);
  for (int64_t done = 0; done + elements <= count; done += elements, values += elements, b += bytes) {
    switch (format) {
      case BlockFormat::q4_0: symmetric(values, b, false); break;
      case BlockFormat::q5_0: symmetric(values, b, true); break;
      case BlockFormat::q4_1: with_offset(values, b, false); break;
      case BlockFormat::q5_1: with_offset(values, b, true); break;
      case BlockFormat::q8_0: q8_0(values, b); break;
      case BlockFormat::q4_k: q45_k(values, b, false); break;
      case BlockFormat::q5_k: q45_k(values, b, true); break;
      case BlockFormat::q6_k: q6_k(values, b); break;
      case BlockFormat::q2_k: q2_k(values, b); break;
      case BlockFormat::q3_k: q3_k(values, b); break;
      case BlockFormat::iq4_nl: iq4_nl(values, b); break;
      case BlockFormat::iq4_xs: iq4_xs(values, b); break;
      default: return;
    }
  }
}

}  // namespace easel
