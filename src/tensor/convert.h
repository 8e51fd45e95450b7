// Reading and writing single elements of any dtype as double or float.
#pragma once

#include <cstddef>

#include <easel/dtype.h>

namespace easel {

/// fp8 (OCP, as torch: e4m3fn has no infinity) → float.
float f8_e4m3_to_float(uint8_t bits) noexcept;
float f8_e5m2_to_float(uint8_t bits) noexcept;
/// float → fp8, round to nearest even, as torch 2.13: what is too large becomes ±448 (e4m3) or
/// infinity (e5m2).
uint8_t f8_e4m3_from_float(float value) noexcept;
uint8_t f8_e5m2_from_float(float value) noexcept;

/// Element `index` of a row of `dtype` elements.
double load_as_double(const void* data, DType dtype, int64_t index) noexcept;
void store_from_double(void* data, DType dtype, int64_t index, double value) noexcept;

/// count elements of `from` → f32, exact for every floating type but f64.
void convert_to_f32(const void* source, DType from, float* target, int64_t count) noexcept;
/// count f32 elements → `to`, round to nearest even.
void convert_from_f32(const float* source, void* target, DType to, int64_t count) noexcept;

}  // namespace easel
