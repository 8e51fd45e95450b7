// Integrals of the coefficients that multistep solvers need.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace easel::sampling {

/// ∫ f from a to b: Gauss–Legendre with 5 points on each of 16 equal parts. Polynomials up to degree 9 are exact.
template <typename Function>
double integrate(double a, double b, Function&& f) {
  constexpr std::array<double, 5> kNodes = {-0.9061798459386640, -0.5384693101056831, 0, 0.5384693101056831,
                                            0.9061798459386640};
  constexpr std::array<double, 5> kWeights = {0.2369268850561891, 0.4786286704993665, 0.5688888888888889,
                                              0.4786286704993665, 0.2369268850561891};
  constexpr int kParts = 16;
  const double half = (b - a) / (2 * kParts);
  double sum = 0;
  for (int part = 0; part < kParts; ++part) {
    const double middle = a + (2 * part + 1) * half;
    for (size_t k = 0; k < kNodes.size(); ++k) sum += kWeights[k] * f(middle + half * kNodes[k]);
  }
  return sum * half;
}

/// The polynomial that is 1 at nodes[j] and 0 at the others, at x.
inline double lagrange(std::span<const double> nodes, size_t j, double x) {
  double out = 1;
  for (size_t k = 0; k < nodes.size(); ++k)
    if (k != j) out *= (x - nodes[k]) / (nodes[j] - nodes[k]);
  return out;
}

}  // namespace easel::sampling
