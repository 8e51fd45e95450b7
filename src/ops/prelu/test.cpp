#include "ops/harness.h"

namespace easel::ops::testing {

OpTests prelu_tests() {
  OpTests tests;
  const auto add = [&](Shape shape) {
    tests.cases.push_back(
        {.attrs = PReluAttrs{}, .inputs = {{.shape = shape}, weight({shape.back()})}, .tolerance = 1, .scale = 1e-30});
  };
  for (const int64_t n : tail_lengths()) add({3, n});
  add({2, 9, 7, 64});
  add({1, 300, 130, 3});
  add({5});
  add({0, 4});
  tests.cases.push_back({.attrs = PReluAttrs{},
                         .inputs = {{.shape = {2, 2}, .values = {-1, 2, 3, -4}}, {.shape = {2}, .values = {0.5, 0.25}}},
                         .expected = {-0.5, 2, 3, -1}});
  tests.benchmarks.push_back({.attrs = PReluAttrs{}, .inputs = {{.shape = {1, 512, 512, 64}}, weight({64})}});
  return tests;
}

}  // namespace easel::ops::testing
