#include <gtest/gtest.h>

#include <cmath>

#include <easel/error.h>
#include <easel/tensor.h>

#include "tensor/convert.h"
#include "tensor/dim.h"

namespace easel {
namespace {

TEST(Half, RoundTripsEveryPattern) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto h = static_cast<uint16_t>(bits);
    const float f = f16_to_float(h), b = bf16_to_float(h);
    if (!std::isnan(f)) {
      EXPECT_EQ(f16_from_float(f), h);
    }
    if (!std::isnan(b)) {
      EXPECT_EQ(bf16_from_float(b), h);
    }
  }
  EXPECT_TRUE(std::isnan(f16_to_float(f16_from_float(std::nanf("")))));
  EXPECT_TRUE(std::isnan(bf16_to_float(bf16_from_float(std::nanf("")))));
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(f16_from_float(65520.f), 0x7c00);  // halfway to 65536 rounds to infinity
  EXPECT_EQ(f16_from_float(65519.f), 0x7bff);
  EXPECT_EQ(f16_from_float(1.f + 0x1p-11f), 0x3c00);  // tie to even
  EXPECT_EQ(f16_from_float(1.f + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(f16_from_float(0x1p-25f), 0x0000);  // tie to even at the smallest subnormal
  EXPECT_EQ(f16_from_float(0x1.8p-25f), 0x0001);
  EXPECT_EQ(bf16_from_float(1.f + 0x1p-8f), 0x3f80);
  EXPECT_EQ(bf16_from_float(1.f + 3 * 0x1p-8f), 0x3f82);
}

TEST(Float8, KnownValues) {
  EXPECT_EQ(f8_e4m3_to_float(0x38), 1.f);
  EXPECT_EQ(f8_e4m3_to_float(0x7e), 448.f);
  EXPECT_EQ(f8_e4m3_to_float(0x01), 0x1p-9f);
  EXPECT_TRUE(std::isnan(f8_e4m3_to_float(0x7f)));
  EXPECT_EQ(f8_e5m2_to_float(0x3c), 1.f);
  EXPECT_EQ(f8_e5m2_to_float(0xfb), -57344.f);
}

TEST(Shape, CountsAndRefusesOverflow) {
  EXPECT_EQ((Shape{2, 3, 4}).numel(), 24);
  EXPECT_EQ(Shape{}.numel(), 1);
  EXPECT_THROW((Shape{int64_t{1} << 40, int64_t{1} << 40}).numel(), Error);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), Error);
  EXPECT_THROW((Shape{-1}).numel(), Error);
}

TEST(Tensor, SharesReshapesAndConverts) {
  const Tensor a = Tensor::from({0, 1, 2, 3, 4, 5}, {2, 3});
  const Tensor b = a.rows(1, 2).reshape({3});
  b.data<float>()[0] = 30;
  EXPECT_EQ(a.data<float>()[3], 30.f);
  EXPECT_EQ(a.to(DType::bf16).to(DType::f32).data<float>()[3], 30.f);
  EXPECT_THROW(a.data<double>(), Error);
  EXPECT_THROW(a.reshape({5}), Error);
  EXPECT_THROW(a.rows(1, 3), Error);
}

TEST(Dim, KeepsCanonicalForm) {
  const Dim h = Dim::symbol("H"), w = Dim::symbol("W");
  EXPECT_EQ((h + 1) * (w - 1), h * w - h + w - 1);
  EXPECT_EQ((h * 4 + 3).floor_div(4), h);
  EXPECT_EQ((h * 2).ceil_div(2), h);
  EXPECT_EQ((h * w * 6).exact_div(h * 2), w * 3);
  EXPECT_THROW((h + 1).exact_div(h), Error);
  EXPECT_EQ((h - h).value(), 0);
}

TEST(Dim, EvaluatesNestedDivisions) {
  const Dim half = Dim::symbol("H").ceil_div(2), quarter = half.ceil_div(2);
  EXPECT_EQ(quarter.evaluate({{"H", 65}}), 17);
  EXPECT_EQ((quarter * half).evaluate({{"H", 65}}), 17 * 33);
  EXPECT_THROW(quarter.evaluate({}), Error);
  EXPECT_NE(half, quarter);
}

}  // namespace
}  // namespace easel
