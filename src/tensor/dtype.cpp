#include <easel/dtype.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/convert.h"

namespace easel {

std::string_view to_string(DType dtype) noexcept {
  switch (dtype) {
    case DType::f64: return "f64";
    case DType::f32: return "f32";
    case DType::f16: return "f16";
    case DType::bf16: return "bf16";
    case DType::f8_e4m3: return "f8_e4m3";
    case DType::f8_e5m2: return "f8_e5m2";
    case DType::i64: return "i64";
    case DType::i32: return "i32";
    case DType::i16: return "i16";
    case DType::i8: return "i8";
    case DType::u64: return "u64";
    case DType::u32: return "u32";
    case DType::u16: return "u16";
    case DType::u8: return "u8";
    case DType::boolean: return "bool";
  }
  return "?";
}

float f8_e5m2_to_float(uint8_t bits) noexcept {
  // e5m2 is the upper byte of a binary16.
  return f16_to_float(static_cast<uint16_t>(bits << 8));
}

float f8_e4m3_to_float(uint8_t bits) noexcept {
  const int exponent = (bits >> 3) & 0xf, mantissa = bits & 7;
  float value;
  if (exponent == 15 && mantissa == 7)
    value = std::nanf("");
  else if (exponent == 0)
    value = std::ldexp(static_cast<float>(mantissa), -9);
  else
    value = std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return bits & 0x80 ? -value : value;
}

namespace {

// Magnitude bits of a small float with `mantissa` bits and the lowest normal exponent `lowest`. The quotient is exact
// in double, so this rounds once; counting on past the last finite value is the caller's to see.
unsigned small_float_bits(double magnitude, int mantissa, int lowest) noexcept {
  const int exponent = magnitude > 0 ? std::max(std::ilogb(magnitude), lowest) : lowest;
  const auto steps = static_cast<unsigned>(std::nearbyint(std::ldexp(magnitude, mantissa - exponent)));
  return (static_cast<unsigned>(exponent - lowest) << mantissa) + steps;
}

template <typename T>
T read(const void* data, int64_t index) noexcept {
  T value;  // memcpy: weights in files need not be aligned
  std::memcpy(&value, static_cast<const char*>(data) + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}
template <typename T>
void write(void* data, int64_t index, T value) noexcept {
  std::memcpy(static_cast<char*>(data) + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

}  // namespace

uint8_t f8_e4m3_from_float(float value) noexcept {
  const unsigned sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value)) return static_cast<uint8_t>(sign | 0x7f);
  const unsigned bits = std::fabs(value) < 512 ? small_float_bits(std::fabs(value), 3, -6) : 0x7e;
  return static_cast<uint8_t>(sign | std::min(bits, 0x7eu));
}

uint8_t f8_e5m2_from_float(float value) noexcept {
  const unsigned sign = std::signbit(value) ? 0x80 : 0;
  if (std::isnan(value)) return static_cast<uint8_t>(sign | 0x7f);
  const unsigned bits = std::fabs(value) < 65536 ? small_float_bits(std::fabs(value), 2, -14) : 0x7c;
  return static_cast<uint8_t>(sign | std::min(bits, 0x7cu));
}

double load_as_double(const void* data, DType dtype, int64_t i) noexcept {
  switch (dtype) {
    case DType::f64: return read<double>(data, i);
    case DType::f32: return read<float>(data, i);
    case DType::f16: return f16_to_float(read<uint16_t>(data, i));
    case DType::bf16: return bf16_to_float(read<uint16_t>(data, i));
    case DType::f8_e4m3: return f8_e4m3_to_float(read<uint8_t>(data, i));
    case DType::f8_e5m2: return f8_e5m2_to_float(read<uint8_t>(data, i));
    case DType::i64: return static_cast<double>(read<int64_t>(data, i));
    case DType::i32: return read<int32_t>(data, i);
    case DType::i16: return read<int16_t>(data, i);
    case DType::i8: return read<int8_t>(data, i);
    case DType::u64: return static_cast<double>(read<uint64_t>(data, i));
    case DType::u32: return read<uint32_t>(data, i);
    case DType::u16: return read<uint16_t>(data, i);
    case DType::u8:
    case DType::boolean: return read<uint8_t>(data, i);
  }
  return 0;
}

void store_from_double(void* data, DType dtype, int64_t i, double value) noexcept {
  switch (dtype) {
    case DType::f64: return write<double>(data, i, value);
    case DType::f32: return write<float>(data, i, static_cast<float>(value));
    case DType::f16: return write<uint16_t>(data, i, f16_from_float(static_cast<float>(value)));
    case DType::bf16: return write<uint16_t>(data, i, bf16_from_float(static_cast<float>(value)));
    case DType::i64: return write<int64_t>(data, i, static_cast<int64_t>(value));
    case DType::i32: return write<int32_t>(data, i, static_cast<int32_t>(value));
    case DType::i16: return write<int16_t>(data, i, static_cast<int16_t>(value));
    case DType::i8: return write<int8_t>(data, i, static_cast<int8_t>(value));
    case DType::u64: return write<uint64_t>(data, i, static_cast<uint64_t>(value));
    case DType::u32: return write<uint32_t>(data, i, static_cast<uint32_t>(value));
    case DType::u16: return write<uint16_t>(data, i, static_cast<uint16_t>(value));
    case DType::u8: return write<uint8_t>(data, i, static_cast<uint8_t>(value));
    case DType::boolean: return write<uint8_t>(data, i, value != 0);
    case DType::f8_e4m3: return write<uint8_t>(data, i, f8_e4m3_from_float(static_cast<float>(value)));
    case DType::f8_e5m2: return write<uint8_t>(data, i, f8_e5m2_from_float(static_cast<float>(value)));
  }
}

void convert_to_f32(const void* source, DType from, float* target, int64_t count) noexcept {
  switch (from) {
    case DType::f32: std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float)); return;
    case DType::f16:
      for (int64_t i = 0; i < count; ++i) target[i] = f16_to_float(read<uint16_t>(source, i));
      return;
    case DType::bf16:
      for (int64_t i = 0; i < count; ++i) target[i] = bf16_to_float(read<uint16_t>(source, i));
      return;
    default:
      for (int64_t i = 0; i < count; ++i) target[i] = static_cast<float>(load_as_double(source, from, i));
  }
}

void convert_from_f32(const float* source, void* target, DType to, int64_t count) noexcept {
  if (to == DType::f32) {
    std::memcpy(target, source, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) store_from_double(target, to, i, source[i]);
}

}  // namespace easel
