#include "ops/harness.h"

namespace easel::ops::testing {

OpTests pixel_shuffle_tests() {
  OpTests tests;
  const auto add = [&](int factor, bool inverse, Shape shape, DType dtype = DType::f32) {
    tests.cases.push_back({.attrs = PixelShuffleAttrs{factor, inverse},
                           .inputs = {{.shape = shape, .dtype = dtype, .low = 0, .high = 100}},
                           .tolerance = 0});
  };
  for (const DType dtype : {DType::f32, DType::bf16, DType::u8, DType::i64}) {
    add(2, false, {2, 3, 5, 12}, dtype);
    add(2, true, {2, 6, 10, 3}, dtype);
  }
  for (const int factor : {1, 2, 3, 4}) {
    add(factor, false, {1, 7, 9, 5 * factor * factor});
    add(factor, true, {3, 2 * factor, 7 * factor, 1});
  }
  add(4, false, {1, 70, 90, 48});
  add(4, true, {0, 8, 8, 3});
  // Channel c·r² + i·r + j is pixel (i, j) of channel c.
  tests.cases.push_back({.attrs = PixelShuffleAttrs{2},
                         .inputs = {{.shape = {1, 1, 2, 4}, .values = {1, 2, 3, 4, 5, 6, 7, 8}}},
                         .expected = {1, 2, 5, 6, 3, 4, 7, 8}});
  tests.cases.push_back({.attrs = PixelShuffleAttrs{2, true},
                         .inputs = {{.shape = {1, 2, 2, 2}, .values = {1, 2, 3, 4, 5, 6, 7, 8}}},
                         .expected = {1, 3, 5, 7, 2, 4, 6, 8}});
  tests.benchmarks.push_back({.attrs = PixelShuffleAttrs{4}, .inputs = {{.shape = {1, 512, 512, 48}}}});
  return tests;
}

}  // namespace easel::ops::testing
