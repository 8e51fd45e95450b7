// The formulas of the packed formats, written once for single blocks and for vectors of blocks.
//
// The layouts in bytes. d, m: binary16 scale and offset; ql/qs: low bits, two or four elements a byte; qh: high bits.
// The order of the elements within a byte is ggml's.
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
//
// Every product d·s·q but q6_k's fits the 24 bits of a float, so d·s·q + m rounds once whether or not it is one fused
// operation: all instruction sets give the bits of the `gguf` package.
#pragma once

#include "tensor/block_format.h"

namespace easel {

/// The values of q in iq4_nl and iq4_xs.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// Decodes one block per lane. A Lane reads the block and computes:
///   Int, Real             an integer of 32 bits, a number; or vectors of them
///   Int byte(int j)       byte j, 0 … 255;  Int signed_byte(int j): −128 … 127
///   Real real(Int)        the number;       Real half(Int): of these binary16 bits
///   Real iq4(Int q)       kIq4Values[q], 0 ≤ q < 16
/// emit(int i, Real even, Real odd) takes elements i and i + 1, each pair once, i even.
/// The fp8 formats, whose blocks are single elements, are decoded two blocks at a time.
template <typename Lane, typename Emit>
struct BlockDecoder {
  using Int = typename Lane::Int;
  using Real = typename Lane::Real;
  const Lane& lane;
  Emit& emit;

  Int byte(int j) const { return lane.byte(j); }
  Real half(int j) const { return lane.half(byte(j) | byte(j + 1) << 8); }
  Real real(Int q) const { return lane.real(q); }

  // 32 elements in 16 bytes: the low nibbles are the first half of them. value(q, element) turns levels into numbers.
  template <typename Value>
  void nibbles(int qs, int first, Value&& value) const {
    for (int i = 0; i < 16; i += 2) {
      const Int a = byte(qs + i), b = byte(qs + i + 1);
      emit(first + i, value(a & 15, i), value(b & 15, i + 1));
      emit(first + i + 16, value(a >> 4, i + 16), value(b >> 4, i + 17));
    }
  }
  // Element i's fifth bit, from 32 bits in bytes qh … qh + 3.
  Int fifth(int qh, int i) const { return (byte(qh + i / 8) >> (i % 8) & 1) << 4; }

  void q4_0() const {
    const Real d = half(0);
    nibbles(2, 0, [&](Int q, int) { return d * real(q - 8); });
  }
  void q4_1() const {
    const Real d = half(0), m = half(2);
    nibbles(4, 0, [&](Int q, int) { return d * real(q) + m; });
  }
  void q5_0() const {
    const Real d = half(0);
    nibbles(6, 0, [&](Int q, int i) { return d * real((q | fifth(2, i)) - 16); });
  }
  void q5_1() const {
    const Real d = half(0), m = half(2);
    nibbles(8, 0, [&](Int q, int i) { return d * real(q | fifth(4, i)) + m; });
  }
  void q8_0() const {
    const Real d = half(0);
    for (int i = 0; i < 32; i += 2) emit(i, real(lane.signed_byte(2 + i)) * d, real(lane.signed_byte(3 + i)) * d);
  }

  // qs of 64 bytes hold 256 elements of two bits: byte i of each half holds elements i, i + 32, i + 64, i + 96.
  Int two_bits(int qs, int i) const { return byte(qs + i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3; }

  void q2_k() const {
    const Real d = half(80), m = half(82);
    for (int j = 0; j < 16; ++j) {
      const Real dl = d * real(byte(j) & 15), ml = m * real(byte(j) >> 4);
      for (int i = 16 * j; i < 16 * j + 16; i += 2)
        emit(i, dl * real(two_bits(16, i)) - ml, dl * real(two_bits(16, i + 1)) - ml);
    }
  }

  void q3_k() const {
    const Real d = half(108);
    for (int j = 0; j < 16; ++j) {
      const Int low = j < 8 ? byte(96 + j) & 15 : byte(96 + j - 8) >> 4;
      const Int high = byte(104 + j % 4) >> (j / 4 * 2) & 3;
      const Real dl = d * real((low | high << 4) - 32);
      // A set mask bit means no offset.
      const auto value = [&](int i) { return dl * real(two_bits(32, i) - 4 + ((byte(i % 32) >> (i / 32) & 1) << 2)); };
      for (int i = 16 * j; i < 16 * j + 16; i += 2) emit(i, value(i), value(i + 1));
    }
  }

  // The 6-bit scale and offset of sub-block j of q4_k and q5_k.
  Int scale(int j) const { return j < 4 ? byte(4 + j) & 63 : (byte(8 + j) & 15) | (byte(j) >> 6) << 4; }
  Int offset(int j) const { return j < 4 ? byte(8 + j) & 63 : byte(8 + j) >> 4 | (byte(4 + j) >> 6) << 4; }

  template <bool five>
  void q45_k() const {
    constexpr int kHigh = 16, kQs = five ? 48 : 16;
    const Real d = half(0), m = half(2);
    for (int j = 0; j < 8; ++j) {
      const Real dl = d * real(scale(j)), ml = m * real(offset(j));
      const auto value = [&](int i) {
        Int q = byte(kQs + j / 2 * 32 + i) >> (j % 2 * 4) & 15;
        if constexpr (five) q = q | (byte(kHigh + i) >> j & 1) << 4;
        return dl * real(q) - ml;
      };
      for (int i = 0; i < 32; i += 2) emit(32 * j + i, value(i), value(i + 1));
    }
  }

  void q6_k() const {
    const Real d = half(208);
    for (int j = 0; j < 16; ++j) {
      const Real dl = d * real(lane.signed_byte(192 + j));
      const auto value = [&](int i) {
        const int part = i / 128, at = i % 128;
        const Int low = byte(part * 64 + at % 64) >> (at / 64 * 4) & 15;
        const Int high = byte(128 + part * 32 + at % 32) >> (at / 32 * 2) & 3;
        return dl * real((low | high << 4) - 32);
      };
      for (int i = 16 * j; i < 16 * j + 16; i += 2) emit(i, value(i), value(i + 1));
    }
  }

  void iq4_nl() const {
    const Real d = half(0);
    nibbles(2, 0, [&](Int q, int) { return d * lane.iq4(q); });
  }
  void iq4_xs() const {
    const Real d = half(0);
    for (int j = 0; j < 8; ++j) {
      const Int low = byte(4 + j / 2) >> (j % 2 * 4) & 15, high = byte(2 + j / 4) >> (j % 4 * 2) & 3;
      const Real dl = d * real((low | high << 4) - 32);
      nibbles(8 + 16 * j, 32 * j, [&](Int q, int) { return dl * lane.iq4(q); });
    }
  }

  // e5m2 is the upper byte of a binary16; e4m3 is one at 2⁻⁸, but for its NaN.
  Real f8_e5m2(int j) const { return lane.half(byte(j) << 8); }
  Real f8_e4m3(int j) const {
    const Int magnitude = byte(j) & 127, bits = (byte(j) & 128) << 8 | magnitude << 7, nan = bits | 0x7e00;
    return lane.half(magnitude == 127 ? nan : bits) * lane.real(Int{} + 256);
  }
};

template <typename Lane, typename Emit>
void decode_block(BlockFormat format, const Lane& lane, Emit&& emit) {
  const BlockDecoder<Lane, Emit> decoder{lane, emit};
  switch (format) {
    case BlockFormat::none: return;
    case BlockFormat::q4_0: return decoder.q4_0();
    case BlockFormat::q4_1: return decoder.q4_1();
    case BlockFormat::q5_0: return decoder.q5_0();
    case BlockFormat::q5_1: return decoder.q5_1();
    case BlockFormat::q8_0: return decoder.q8_0();
    case BlockFormat::q2_k: return decoder.q2_k();
    case BlockFormat::q3_k: return decoder.q3_k();
    case BlockFormat::q4_k: return decoder.template q45_k<false>();
    case BlockFormat::q5_k: return decoder.template q45_k<true>();
    case BlockFormat::q6_k: return decoder.q6_k();
    case BlockFormat::iq4_nl: return decoder.iq4_nl();
    case BlockFormat::iq4_xs: return decoder.iq4_xs();
    case BlockFormat::f8_e4m3: return emit(0, decoder.f8_e4m3(0), decoder.f8_e4m3(1));
    case BlockFormat::f8_e5m2: return emit(0, decoder.f8_e5m2(0), decoder.f8_e5m2(1));
  }
}

}  // namespace easel
