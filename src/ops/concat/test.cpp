#include "ops/harness.h"

namespace easel::ops::testing {

OpTests concat_tests() {
  OpTests tests;
  const auto add = [&](int axis, std::vector<Shape> shapes, DType dtype = DType::f32) {
    Case c{.attrs = ConcatAttrs{axis}, .inputs = {}, .tolerance = 0};
    for (const Shape& shape : shapes) c.inputs.push_back({.shape = shape, .dtype = dtype, .low = 0, .high = 100});
    tests.cases.push_back(c);
  };
  for (const int64_t n : tail_lengths()) add(-1, {{3, n}, {3, 34 - n}});
  add(0, {{2, 3}, {1, 3}, {4, 3}});
  add(1, {{2, 3, 5}, {2, 1, 5}});
  add(-1, {{2, 8, 8, 320}, {2, 8, 8, 640}});
  add(0, {{20000}, {30001}});
  add(0, {{7}});
  add(0, {{0, 3}, {2, 3}});
  add(0, {{1}, {1}, {1}});
  for (const DType dtype : {DType::bf16, DType::f16, DType::i64, DType::u8, DType::boolean})
    add(-1, {{3, 5}, {3, 4}}, dtype);
  tests.cases.push_back({.attrs = ConcatAttrs{-1},
                         .inputs = {{.shape = {2, 1}, .values = {1, 2}}, {.shape = {2, 2}, .values = {3, 4, 5, 6}}},
                         .expected = {1, 3, 4, 2, 5, 6}});
  tests.benchmarks.push_back(
      {.attrs = ConcatAttrs{-1}, .inputs = {{.shape = {2, 64, 64, 320}}, {.shape = {2, 64, 64, 320}}}});
  return tests;
}

}  // namespace easel::ops::testing
