#include "tensor/block_format.h"

#include <bit>
#include <cstring>

#include <easel/half.h>

// The block layouts, in bytes. d, m: binary16 scale and offset; ql/qs: low bits, two or four elements a byte;
// qh: high bits. The order of the elements within a byte is ggml's.
//   q4_0    d[2] qs[16]                     x = d·(q − 8)
//   q4_1    d[2] m[2] qs[16]                x = d·q + m
//   q5_0    d[2] qh[4] qs[16]               x = d·(q − 16)
//   q5_1    d[2] m[2] qh[4] qs[16]          x = d·q + m
//   q8_0    d[2] q[32]                      x = d·q
//   q2_k    scales[16] qs[64] d[2] m[2]     x = d·s·q − m·t, s and t the nibbles of a scale
//   q3_k    qh[32] qs[64] scales[12] d[2]   x = d·(s − 32)·(q − 4)
//   q4_k    d[2] m[2] scales[12] qs[128]    x = d·s·q − m·t, s and t of 6 bits
//   q5_k    d[2] m[2] scales[12] qh[32] qs[128]
//   q6_k    ql[128] qh[64] scales[16] d[2]  x = d·s·(q − 32)
//   iq4_nl  d[2] qs[16]                     x = d·table[q]
//   iq4_xs  d[2] sh[2] sl[4] qs[128]        x = d·(s − 32)·table[q]

namespace easel {

namespace {

constexpr int kSuper = 256;  // elements of a k block

constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

struct Layout {
  BlockFormat format;
  const char* name;
  int elements, bytes;
};
constexpr Layout kLayouts[] = {{BlockFormat::none, "", 1, 0},
                               {BlockFormat::q4_0, "q4_0", 32, 18},
                               {BlockFormat::q4_1, "q4_1", 32, 20},
                               {BlockFormat::q5_0, "q5_0", 32, 22},
                               {BlockFormat::q5_1, "q5_1", 32, 24},
                               {BlockFormat::q8_0, "q8_0", 32, 34},
                               {BlockFormat::q2_k, "q2_k", 256, 84},
                               {BlockFormat::q3_k, "q3_k", 256, 110},
                               {BlockFormat::q4_k, "q4_k", 256, 144},
                               {BlockFormat::q5_k, "q5_k", 256, 176},
                               {BlockFormat::q6_k, "q6_k", 256, 210},
                               {BlockFormat::iq4_nl, "iq4_nl", 32, 18},
                               {BlockFormat::iq4_xs, "iq4_xs", 256, 136}};

const Layout& layout(BlockFormat format) noexcept { return kLayouts[static_cast<size_t>(format)]; }

float half_at(const uint8_t* p) noexcept {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f16_to_float(bits);
}
uint32_t word_at(const uint8_t* p) noexcept {
  uint32_t bits;
  std::memcpy(&bits, p, 4);
  return bits;
}

void q4_0(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>((b[2 + i] & 15) - 8);
    y[i + 16] = d * static_cast<float>((b[2 + i] >> 4) - 8);
  }
}

void q4_1(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b), m = half_at(b + 2);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(b[4 + i] & 15) + m;
    y[i + 16] = d * static_cast<float>(b[4 + i] >> 4) + m;
  }
}

void q5_0(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b);
  const uint32_t high = word_at(b + 2);
  for (int i = 0; i < 16; ++i) {
    const int low = (b[6 + i] & 15) | static_cast<int>(high >> i & 1) << 4;
    const int top = (b[6 + i] >> 4) | static_cast<int>(high >> (i + 16) & 1) << 4;
    y[i] = d * static_cast<float>(low - 16);
    y[i + 16] = d * static_cast<float>(top - 16);
  }
}

void q5_1(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b), m = half_at(b + 2);
  const uint32_t high = word_at(b + 4);
  for (int i = 0; i < 16; ++i) {
    const int low = (b[8 + i] & 15) | static_cast<int>(high >> i & 1) << 4;
    const int top = (b[8 + i] >> 4) | static_cast<int>(high >> (i + 16) & 1) << 4;
    y[i] = d * static_cast<float>(low) + m;
    y[i + 16] = d * static_cast<float>(top) + m;
  }
}

void q8_0(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b);
  for (int i = 0; i < 32; ++i) y[i] = static_cast<float>(static_cast<int8_t>(b[2 + i])) * d;
}

// qs of 64 bytes hold 256 elements of two bits: byte i of each half holds elements i, i + 32, i + 64, i + 96.
int two_bits(const uint8_t* qs, int i) noexcept { return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }

void q2_k(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b + 80), m = half_at(b + 82);
  for (int i = 0; i < kSuper; ++i) {
    const uint8_t scale = b[i / 16];
    const float dl = d * static_cast<float>(scale & 15), ml = m * static_cast<float>(scale >> 4);
    y[i] = dl * static_cast<float>(two_bits(b + 16, i)) - ml;
  }
}

void q3_k(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b + 108);
  const uint8_t* scales = b + 96;
  for (int j = 0; j < 16; ++j) {
    const int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
    const int high = scales[8 + j % 4] >> (j / 4 * 2) & 3;
    const float dl = d * static_cast<float>((low | high << 4) - 32);
    for (int i = 16 * j; i < 16 * j + 16; ++i) {
      // A set mask bit means no offset.
      const int offset = b[i % 32] >> (i / 32) & 1 ? 0 : 4;
      y[i] = dl * static_cast<float>(two_bits(b + 32, i) - offset);
    }
  }
}

// The 6-bit scale and offset of sub-block j of q4_k and q5_k.
void scale_and_min(const uint8_t* scales, int j, int& scale, int& min) noexcept {
  if (j < 4) {
    scale = scales[j] & 63;
    min = scales[j + 4] & 63;
  } else {
    scale = (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4;
    min = scales[j + 4] >> 4 | (scales[j] >> 6) << 4;
  }
}

void q45_k(const uint8_t* b, float* y, bool five) noexcept {
  const float d = half_at(b), dmin = half_at(b + 2);
  const uint8_t *high = b + 16, *qs = b + (five ? 48 : 16);
  for (int j = 0; j < 8; ++j) {
    int scale, min;
    scale_and_min(b + 4, j, scale, min);
    const float dl = d * static_cast<float>(scale), ml = dmin * static_cast<float>(min);
    for (int i = 0; i < 32; ++i) {
      int q = qs[j / 2 * 32 + i] >> (j % 2 * 4) & 15;
      if (five) q |= (high[i] >> j & 1) << 4;
      y[32 * j + i] = dl * static_cast<float>(q) - ml;
    }
  }
}

void q6_k(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b + 208);
  const auto* scales = reinterpret_cast<const int8_t*>(b + 192);
  for (int i = 0; i < kSuper; ++i) {
    const int half = i / 128, at = i % 128;
    const int low = b[half * 64 + at % 64] >> (at / 64 * 4) & 15;
    const int high = b[128 + half * 32 + at % 32] >> (at / 32 * 2) & 3;
    const int8_t scale = scales[i / 16];
    y[i] = d * static_cast<float>(scale) * static_cast<float>((low | high << 4) - 32);
  }
}

void iq4_nl(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b);
  for (int i = 0; i < 16; ++i) {
    y[i] = d * static_cast<float>(kIq4Values[b[2 + i] & 15]);
    y[i + 16] = d * static_cast<float>(kIq4Values[b[2 + i] >> 4]);
  }
}

void iq4_xs(const uint8_t* b, float* y) noexcept {
  const float d = half_at(b);
  const unsigned high = b[2] | static_cast<unsigned>(b[3]) << 8;
  for (int j = 0; j < 8; ++j) {
    const int scale = (b[4 + j / 2] >> (j % 2 * 4) & 15) | static_cast<int>(high >> (2 * j) & 3) << 4;
    const float dl = d * static_cast<float>(scale - 32);
    const uint8_t* qs = b + 8 + 16 * j;
    for (int i = 0; i < 16; ++i) {
      y[32 * j + i] = dl * static_cast<float>(kIq4Values[qs[i] & 15]);
      y[32 * j + i + 16] = dl * static_cast<float>(kIq4Values[qs[i] >> 4]);
    }
  }
}

}  // namespace

int64_t block_elements(BlockFormat format) noexcept { return layout(format).elements; }
int64_t block_bytes(BlockFormat format) noexcept { return layout(format).bytes; }
std::string_view to_string(BlockFormat format) noexcept { return layout(format).name; }

std::optional<BlockFormat> block_format_from_name(std::string_view name) noexcept {
  for (const BlockFormat format : kBlockFormats)
    if (to_string(format) == name) return format;
  return std::nullopt;
}

void dequantize(BlockFormat format, const void* blocks, float* out, int64_t count) noexcept {
  static_assert(std::endian::native == std::endian::little);
  const auto* b = static_cast<const uint8_t*>(blocks);
  const Layout& l = layout(format);
  for (int64_t done = 0; done + l.elements <= count; done += l.elements, b += l.bytes, out += l.elements) {
    switch (format) {
      case BlockFormat::none: return;
      case BlockFormat::q4_0: q4_0(b, out); break;
      case BlockFormat::q4_1: q4_1(b, out); break;
      case BlockFormat::q5_0: q5_0(b, out); break;
      case BlockFormat::q5_1: q5_1(b, out); break;
      case BlockFormat::q8_0: q8_0(b, out); break;
      case BlockFormat::q2_k: q2_k(b, out); break;
      case BlockFormat::q3_k: q3_k(b, out); break;
      case BlockFormat::q4_k: q45_k(b, out, false); break;
      case BlockFormat::q5_k: q45_k(b, out, true); break;
      case BlockFormat::q6_k: q6_k(b, out); break;
      case BlockFormat::iq4_nl: iq4_nl(b, out); break;
      case BlockFormat::iq4_xs: iq4_xs(b, out); break;
    }
  }
}

}  // namespace easel
