#include "ops/harness.h"

namespace easel::ops::testing {

OpTests slice_tests() {
  OpTests tests;
  const auto add = [&](int axis, int64_t begin, int64_t length, Shape shape, DType dtype = DType::f32) {
    tests.cases.push_back({.attrs = SliceAttrs{axis, begin, length},
                           .inputs = {{.shape = shape, .dtype = dtype, .low = 0, .high = 100}},
                           .tolerance = 0});
  };
  for (const int64_t n : tail_lengths()) add(-1, 33 - n, n, {3, 35});
  add(0, 1, 2, {4, 5});
  add(0, 3, 1, {4, 5});
  add(1, 1, 3, {2, 5, 7});
  add(1, 0, 0, {2, 5, 7});
  add(0, 10, 40000, {50000});
  add(-1, 320, 320, {2, 64, 960});
  add(0, 0, 1, {1});
  for (const DType dtype : {DType::bf16, DType::f16, DType::i64, DType::u8, DType::boolean})
    add(-1, 2, 5, {3, 9}, dtype);
  tests.cases.push_back({.attrs = SliceAttrs{-1, 1, 2},
                         .inputs = {{.shape = {2, 3}, .values = {1, 2, 3, 4, 5, 6}}},
                         .expected = {2, 3, 5, 6}});
  tests.benchmarks.push_back({.attrs = SliceAttrs{-1, 320, 320}, .inputs = {{.shape = {2, 4096, 960}}}});
  return tests;
}

}  // namespace easel::ops::testing
