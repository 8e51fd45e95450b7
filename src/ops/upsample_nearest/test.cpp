#include "ops/harness.h"

namespace easel::ops::testing {

OpTests upsample_nearest_tests() {
  OpTests tests;
  const auto add = [&](int64_t height, int64_t width, Shape shape) {
    tests.cases.push_back({.attrs = UpsampleNearestAttrs{height, width}, .inputs = {{.shape = shape}}, .tolerance = 0});
  };
  for (const int64_t n : tail_lengths()) add(6, 4, {2, 3, 2, n});
  add(16, 24, {2, 8, 12, 320});
  add(5, 7, {1, 3, 4, 3});  // ratios that are no whole numbers
  add(3, 2, {1, 7, 5, 3});  // smaller
  add(1, 1, {1, 1, 1, 1});
  add(4, 4, {0, 2, 2, 3});
  tests.cases.push_back({.attrs = UpsampleNearestAttrs{3, 5},
                         .inputs = {{.shape = {1, 2, 2, 1}, .values = {1, 2, 3, 4}}},
                         .expected = {1, 1, 1, 2, 2, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4}});
  tests.benchmarks.push_back({.attrs = UpsampleNearestAttrs{64, 64}, .inputs = {{.shape = {2, 32, 32, 640}}}});
  tests.benchmarks.push_back({.attrs = UpsampleNearestAttrs{512, 512}, .inputs = {{.shape = {1, 256, 256, 256}}}});
  return tests;
}

}  // namespace easel::ops::testing
