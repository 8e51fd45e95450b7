// Tensors to test with, and how far apart two of them are (tests only).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include <easel/tensor.h>

namespace easel {

/// Normal numbers times `scale`, f32; the same for the same seed.
inline Tensor random_tensor(const Shape& shape, uint32_t seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Tensor out = Tensor::empty(DType::f32, shape);
  for (float& value : out.span<float>()) value = scale * normal(random);
  return out;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

/// |a − b| / |b| of f32 tensors, whose shapes must be equal.
inline double relative_l2(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double error = 0, norm = 0;
  const auto x = a.span<float>(), y = b.span<float>();
  for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    error += (double(x[i]) - y[i]) * (double(x[i]) - y[i]);
    norm += double(y[i]) * y[i];
  }
  return std::sqrt(error / norm);
}

}  // namespace easel
