#include "ops/harness.h"

namespace easel::ops::testing {

OpTests permute_tests() {
  OpTests tests;
  const auto add = [&](std::vector<int> order, Shape shape, DType dtype = DType::f32) {
    tests.cases.push_back({.attrs = PermuteAttrs{std::move(order)},
                           .inputs = {{.shape = shape, .dtype = dtype, .low = 0, .high = 100}},
                           .tolerance = 0});
  };
  for (const int64_t n : tail_lengths()) {
    add({1, 0}, {n, 34 - n});
    add({0, 2, 1}, {2, n, 70});
  }
  add({0, 2, 3, 1}, {2, 4, 16, 24});  // NCHW → NHWC
  add({0, 3, 1, 2}, {2, 16, 24, 3});  // NHWC → NCHW
  add({0, 2, 3, 1}, {1, 320, 9, 11});
  add({0, 2, 1, 3}, {2, 77, 8, 40});  // heads
  add({0, 1, 2}, {3, 4, 5});
  add({2, 1, 0}, {130, 5, 67});
  add({3, 2, 1, 0}, {3, 4, 5, 6});
  add({1, 0, 3, 2, 5, 4}, {2, 3, 2, 3, 2, 5});
  add({0, 1}, {1, 1});
  add({0}, {300});
  add({1, 0}, {0, 5});
  for (const DType dtype : {DType::bf16, DType::f16, DType::i64, DType::u8, DType::boolean})
    add({1, 2, 0}, {3, 9, 70}, dtype);
  tests.cases.push_back({.attrs = PermuteAttrs{{1, 0}},
                         .inputs = {{.shape = {2, 3}, .values = {1, 2, 3, 4, 5, 6}}},
                         .expected = {1, 4, 2, 5, 3, 6}});
  tests.benchmarks.push_back({.attrs = PermuteAttrs{{0, 2, 3, 1}}, .inputs = {{.shape = {1, 3, 512, 512}}}});
  tests.benchmarks.push_back({.attrs = PermuteAttrs{{0, 3, 1, 2}}, .inputs = {{.shape = {2, 64, 64, 320}}}});
  tests.benchmarks.push_back({.attrs = PermuteAttrs{{0, 2, 1, 3}}, .inputs = {{.shape = {2, 4096, 8, 40}}}});
  return tests;
}

}  // namespace easel::ops::testing
