#include "ops/harness.h"

namespace easel::ops::testing {

OpTests reshape_tests() {
  OpTests tests;
  const auto add = [&](Shape to, Shape shape, DType dtype = DType::f32) {
    tests.cases.push_back({.attrs = ReshapeAttrs{symbolic(to)},
                           .inputs = {{.shape = shape, .dtype = dtype, .low = 0, .high = 100}},
                           .tolerance = 0});
  };
  for (const int64_t n : tail_lengths()) add({n, 2}, {2, n});
  add({2, 4096, 3}, {2, 64, 64, 3});
  add({60000}, {2, 30000});
  add({1}, {1, 1, 1});
  add({0}, {0, 4});
  for (const DType dtype : {DType::bf16, DType::i64, DType::u8, DType::boolean}) add({9, 3}, {3, 9}, dtype);
  tests.cases.push_back(
      {.attrs = ReshapeAttrs{{2, 2}}, .inputs = {{.shape = {4}, .values = {1, 2, 3, 4}}}, .expected = {1, 2, 3, 4}});
  tests.benchmarks.push_back({.attrs = ReshapeAttrs{{2, 4096, 320}}, .inputs = {{.shape = {2, 64, 64, 320}}}});
  return tests;
}

}  // namespace easel::ops::testing
