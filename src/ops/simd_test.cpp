// The functions of simd.h against double precision, as compiled for this program (the operators' tests see them as
// compiled for each instruction set).
#include <gtest/gtest.h>

#include <cmath>

#include "ops/simd.h"

namespace easel::ops::simd {

namespace {

// Largest |f − exact| over points of [low, high], relative to max(|exact|, floor).
template <typename Function, typename Exact>
double worst_error(Function&& f, Exact&& exact, double low, double high, double floor) {
  double worst = 0;
  constexpr int kPoints = 200000;
  for (int i = 0; i < kPoints; i += static_cast<int>(kLanes)) {
    float x[kLanes], y[kLanes];
    for (int k = 0; k < kLanes; ++k) x[k] = static_cast<float>(low + (high - low) * (i + k) / kPoints);
    store(y, f(load(x)));
    for (int k = 0; k < kLanes; ++k) {
      const double e = exact(static_cast<double>(x[k]));
      worst = std::max(worst, std::abs(y[k] - e) / std::max(std::abs(e), floor));
    }
  }
  return worst;
}

float first(Vec v) { return v[0]; }

TEST(Simd, FunctionsAreAccurate) {
  EXPECT_LT(worst_error(
                exp, [](double x) { return std::exp(x); }, -87, 88, 0),
            1.5e-7);
  EXPECT_LT(worst_error(
                erf, [](double x) { return std::erf(x); }, -6, 6, 0),
            1.5e-7);
  EXPECT_LT(worst_error(
                tanh, [](double x) { return std::tanh(x); }, -20, 20, 1),
            2e-7);
  EXPECT_LT(worst_error(
                sigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, -80, 80, 0),
            3e-7);
}

TEST(Simd, ExpAtItsEnds) {
  EXPECT_EQ(first(exp(fill(0))), 1.0f);
  EXPECT_EQ(first(exp(fill(-INFINITY))), 0.0f);
  EXPECT_EQ(first(exp(fill(-90))), 0.0f);
  EXPECT_EQ(first(exp(fill(89))), INFINITY);
  EXPECT_EQ(first(exp(fill(INFINITY))), INFINITY);
  EXPECT_TRUE(std::isnan(first(exp(fill(NAN)))));
}

TEST(Simd, LanesBeyondTheTailStayUntouched) {
  for (int64_t n = 0; n <= kLanes; ++n) {
    float from[kLanes], to[kLanes] = {};
    for (float& x : from) x = 7;
    store_n(to, load_n(from, n), n);
    EXPECT_EQ(sum(load_n(from, n)), 7.0f * static_cast<float>(n));
    for (int64_t i = 0; i < kLanes; ++i) EXPECT_EQ(to[i], i < n ? 7.0f : 0.0f);
    EXPECT_EQ(sum(select(lanes_below(n), fill(1), fill(0))), static_cast<float>(n));
  }
}

}  // namespace

}  // namespace easel::ops::simd
