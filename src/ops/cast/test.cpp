#include "ops/harness.h"

namespace easel::ops::testing {

OpTests cast_tests() {
  OpTests tests;
  constexpr double kExact = 1e-9;  // not 0, which would compare the payloads of NaNs
  const auto add = [&](DType from, DType to, Arg x) {
    x.dtype = from;
    tests.cases.push_back({.attrs = CastAttrs{to}, .inputs = {x}, .tolerance = kExact});
  };
  for (const DType half : {DType::bf16, DType::f16}) {
    for (const int64_t n : tail_lengths()) {
      add(DType::f32, half, {.shape = {n}});
      add(half, DType::f32, {.shape = {n}});
    }
    add(DType::f32, half, {.shape = {40, 1000}, .deviation = 1e-6});  // subnormal as f16
    add(half, DType::f32, {.shape = {40, 1000}, .deviation = 1e-6});
    add(DType::f32, half, {.shape = {3000}, .low = -1e5, .high = 1e5});  // infinite as f16
    add(half, DType::bf16, {.shape = {20}});
    add(DType::f64, half, {.shape = {20}});
  }
  for (const DType integer :
       {DType::i64, DType::i32, DType::i16, DType::i8, DType::u64, DType::u32, DType::u16, DType::u8, DType::boolean}) {
    add(integer, DType::f32, {.shape = {20}, .low = 0, .high = 1});
    add(DType::f32, integer, {.shape = {200}, .deviation = 100});
    add(DType::f32, integer, {.shape = {200}, .low = -1e20, .high = 1e20});
    add(integer, DType::i32, {.shape = {20}, .low = 0, .high = 1});
  }
  tests.cases.push_back({.attrs = CastAttrs{DType::i32},
                         .inputs = {{.shape = {5}, .values = {-1.5, 2.9, 1e10, -1e10, 0}}},
                         .tolerance = kExact,
                         .nonfinite = NonFinite::skip,
                         .expected = {-1, 2, 2147483647, -2147483648.0, 0}});
  tests.cases.push_back({.attrs = CastAttrs{DType::bf16},  // ties go to even
                         .inputs = {{.shape = {3}, .values = {1 + 0x1p-8, 1 + 0x1p-8 + 0x1p-20, 1 + 0x3p-8}}},
                         .tolerance = kExact,
                         .nonfinite = NonFinite::skip,
                         .expected = {1, 1 + 0x1p-7, 1 + 0x1p-6}});
  tests.benchmarks.push_back({.attrs = CastAttrs{DType::bf16}, .inputs = {{.shape = {2, 4096, 320}}}});
  tests.benchmarks.push_back(
      {.attrs = CastAttrs{DType::f32}, .inputs = {{.shape = {2, 4096, 320}, .dtype = DType::f16}}});
  return tests;
}

}  // namespace easel::ops::testing
