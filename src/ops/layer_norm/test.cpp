#include "ops/harness.h"

namespace easel::ops::testing {

OpTests layer_norm_tests() {
  OpTests tests;
  const auto add = [&](Shape shape, double mean, double deviation, double eps = 1e-5) {
    const int64_t d = shape.back();
    const Arg x{.shape = shape, .mean = mean, .deviation = deviation};
    tests.cases.push_back({.attrs = LayerNormAttrs{.eps = eps}, .inputs = {x, weight({d}), weight({d})}});
    tests.cases.push_back({.attrs = LayerNormAttrs{.eps = eps, .affine = false}, .inputs = {x}});
  };
  for (const int64_t n : tail_lengths()) add({3, n}, 0, 1);
  add({2, 35, 320}, 0, 1);
  add({77, 768}, 100, 1);
  add({5, 1280}, -1000, 0.1);
  add({5, 1280}, 0, 1e-4);
  add({5, 1280}, 0, 1e4, 1e-6);
  add({3, 64}, 7, 0);  // equal elements
  add({70}, 0, 1);
  add({0, 8}, 0, 1);
  for (const int64_t n : tail_lengths())
    tests.cases.push_back({.attrs = LayerNormAttrs{.result = DType::bf16},
                           .inputs = {{.shape = {3, n}}, weight({n}), weight({n})},
                           .tolerance = 1,
                           .precision = DType::bf16});
  tests.cases.push_back({.attrs = LayerNormAttrs{.eps = 0},
                         .inputs = {{.shape = {2, 4}, .values = {1, 3, 1, 3, 0, 0, 0, 4}},
                                    {.shape = {4}, .constant = true, .values = {1, 1, 2, 1}},
                                    {.shape = {4}, .constant = true, .values = {0, 0, 1, 10}}},
                         .expected = {-1, 1, -1, 11, -0.5773502691896257, -0.5773502691896257, -0.15470053837925146,
                                      11.732050807568877}});
  tests.benchmarks.push_back(
      {.attrs = LayerNormAttrs{}, .inputs = {{.shape = {2, 4096, 320}}, weight({320}), weight({320})}});
  tests.benchmarks.push_back(
      {.attrs = LayerNormAttrs{}, .inputs = {{.shape = {2, 256, 1280}}, weight({1280}), weight({1280})}});
  const auto bench_for = [&](std::string_view model, Shape shape) {
    const int64_t c = shape.back();
    tests.benchmarks.push_back({.attrs = LayerNormAttrs{}, .inputs = {{.shape = shape}, weight({c}), weight({c})}});
    tests.benchmarks.back().model = model;
  };
  bench_for("sdxl", {2, 4096, 640});
  bench_for("sdxl", {2, 1024, 1280});
  bench_for("flux", {1, 4096, 3072});
  bench_for("wan", {1, 32760, 1536});
  return tests;
}

}  // namespace easel::ops::testing
