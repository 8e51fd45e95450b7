// What the references of linear, conv2d and attention share.
#pragma once

#include <cmath>

#include <easel/dtype.h>
#include <easel/half.h>

#include "ops/kernel.h"
#include "ops/schema.h"
#include "tensor/convert.h"

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

/// Row `n` of a weight in blocks as doubles, rounded to the dtype of the weight where that is narrower than what it is
/// decoded to.
inline void decode_row(const ArgType& w, const void* blocks, int64_t n, double* row) {
  const int64_t count = w.shape.numel() / w.shape[0];
  dequantize(w.encoding, static_cast<const std::byte*>(blocks) + n * bytes_in_blocks(w.encoding, count), row, count);
  if (w.dtype == DType::f32) return;
  for (int64_t k = 0; k < count; ++k) {
    uint16_t narrow;
    store_from_double(&narrow, w.dtype, 0, row[k]);
    row[k] = load_as_double(&narrow, w.dtype, 0);
  }
}

}  // namespace easel::ops
