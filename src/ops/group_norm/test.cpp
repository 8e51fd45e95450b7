#include "ops/harness.h"

namespace easel::ops::testing {

OpTests group_norm_tests() {
  OpTests tests;
  const auto add = [&](Shape shape, int groups, Activation activation = Activation::none, double mean = 0,
                       double deviation = 1, double eps = 1e-5) {
    const int64_t c = shape.back();
    tests.cases.push_back(
        {.attrs = GroupNormAttrs{.groups = groups, .eps = eps, .activation = activation},
         .inputs = {{.shape = shape, .mean = mean, .deviation = deviation}, weight({c}), weight({c})}});
  };
  for (const int64_t n : tail_lengths()) {
    add({2, 3, 5, n}, 1);
    add({1, 7, 3 * n}, 3, Activation::silu);
  }
  for (const Activation activation : {Activation::none, Activation::silu})
    for (const int64_t n : tail_lengths())
      tests.cases.push_back({.attrs = GroupNormAttrs{.groups = 1, .activation = activation, .result = DType::bf16},
                             .inputs = {{.shape = {2, 3, 5, n}}, weight({n}), weight({n})},
                             .tolerance = 1,
                             .precision = DType::bf16});
  for (const DType result : {DType::f32, DType::bf16})
    for (const int64_t n : tail_lengths())
      tests.cases.push_back(
          {.attrs = GroupNormAttrs{.groups = 1, .activation = Activation::silu, .result = result},
           .inputs = {{.shape = {2, 3, 5, n}, .dtype = DType::bf16, .mean = 2}, weight({n}), weight({n})},
           .tolerance = result == DType::bf16 ? 1.0 : 8.0,
           .precision = result});
  add({2, 16, 12, 320}, 32, Activation::silu);
  add({1, 9, 9, 130}, 13);
  add({1, 70, 70, 40}, 8, Activation::silu);  // several chunks, the last one short
  add({2, 5, 4100}, 4);                       // wider than a chunk's eight positions
  add({2, 32}, 4);                            // no positions
  add({1, 50, 50, 64}, 32, Activation::none, 100, 1);
  add({1, 50, 50, 64}, 32, Activation::silu, -1000, 1);
  add({1, 20, 20, 64}, 32, Activation::none, 0, 1e-3, 1e-6);
  add({1, 20, 20, 64}, 32, Activation::none, 5, 0);  // equal elements
  add({1, 4, 4, 96}, 3, Activation::gelu_erf);
  add({1, 4, 4, 96}, 3, Activation::gelu_tanh);
  add({1, 4, 4, 96}, 3, Activation::quick_gelu);
  add({1, 4, 4, 96}, 3, Activation::relu);
  add({1, 4, 4, 96}, 3, Activation::tanh);
  add({0, 4, 4, 96}, 3);
  tests.cases.push_back(
      {.attrs = GroupNormAttrs{.groups = 2, .eps = 0},
       .inputs = {{.shape = {1, 2, 4}, .values = {1, 3, 0, 0, 3, 1, 0, 4}},
                  {.shape = {4}, .constant = true, .values = {1, 2, 1, 1}},
                  {.shape = {4}, .constant = true, .values = {0, 1, 0, 10}}},
       .expected = {-1, 3, -0.5773502691896257, 9.422649730810374, 1, -1, -0.5773502691896257, 11.732050807568877}});
  const auto bench = [&](Shape shape) {
    const int64_t c = shape.back();
    tests.benchmarks.push_back({.attrs = GroupNormAttrs{.groups = 32, .activation = Activation::silu},
                                .inputs = {{.shape = shape}, weight({c}), weight({c})}});
  };
  bench({2, 64, 64, 320});
  bench({2, 32, 32, 640});
  bench({2, 8, 8, 1280});
  bench({1, 512, 512, 128});
  const auto bench_sdxl = [&](Shape shape) {
    bench(shape);
    tests.benchmarks.back().model = "sdxl";
  };
  bench_sdxl({2, 128, 128, 320});
  bench_sdxl({2, 64, 64, 640});
  bench_sdxl({2, 32, 32, 1280});
  return tests;
}

}  // namespace easel::ops::testing
