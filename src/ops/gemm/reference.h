// What the references of linear, conv2d and attention share.
#pragma once

#include <cmath>

#include <easel/dtype.h>
#include <easel/half.h>

#include "ops/schema.h"

namespace easel::ops {

inline bool reference_element(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

/// Elements of f64, f32, f16 or bf16 memory as doubles.
struct ElementReader {
  const void* data;
  DType dtype;
  double operator()(int64_t i) const {
    if (dtype == DType::f64) return static_cast<const double*>(data)[i];
    if (dtype == DType::f32) return static_cast<const float*>(data)[i];
    const uint16_t bits = static_cast<const uint16_t*>(data)[i];
    return dtype == DType::f16 ? f16_to_float(bits) : bf16_to_float(bits);
  }
};

}  // namespace easel::ops
