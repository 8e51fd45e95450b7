#include "ops/harness.h"

namespace easel::ops::testing {

OpTests fourier_filter_tests() {
  OpTests tests;
  const auto add = [&](const Shape& shape, double scale) {
    tests.cases.push_back({.attrs = FourierFilterAttrs{},
                           .inputs = {{.shape = shape}, {.shape = {1}, .values = {scale}}},
                           .tolerance = 4,
                           .nonfinite = NonFinite::skip});
  };
  for (const int64_t n : tail_lengths()) add({2, 3, 5, n}, 0.2);
  for (const Shape& shape : {Shape{1, 1, 1, 3}, Shape{1, 1, 4, 3}, Shape{1, 2, 1, 3}, Shape{2, 2, 2, 5},
                             Shape{1, 8, 12, 70}, Shape{0, 2, 2, 3}})
    for (const double scale : {0.9, 1.0, 0.0}) add(shape, scale);
  // diffusers' fourier_filter(x, threshold=1, scale=0.2)
  tests.cases.push_back(
      {.attrs = FourierFilterAttrs{},
       .inputs = {{.shape = {1, 2, 3, 1}, .values = {1, 2, 4, -1, 0.5, 3}}, {.shape = {1}, .values = {0.2}}},
       .tolerance = 16,
       .nonfinite = NonFinite::skip,
       .expected = {-0.3333333134651184, 0.2666667103767395, 1.466666579246521, -0.9333333373069763,
                    -0.033333271741867065, 1.466666579246521}});
  tests.benchmarks.push_back(
      {.attrs = FourierFilterAttrs{}, .inputs = {{.shape = {2, 16, 16, 1280}}, {.shape = {1}, .values = {0.2}}}});
  return tests;
}

}  // namespace easel::ops::testing
