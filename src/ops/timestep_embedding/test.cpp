#include "ops/harness.h"

namespace easel::ops::testing {

OpTests timestep_embedding_tests() {
  OpTests tests;
  const auto add = [&](TimestepEmbeddingAttrs attrs, int64_t count) {
    tests.cases.push_back({.attrs = attrs, .inputs = {{.shape = {count}, .low = 0, .high = 1000}}});
  };
  for (const int dim : {1, 2, 5, 32, 320}) add({.dim = dim}, 2);
  add({.dim = 320, .flip_sin_to_cos = false, .downscale_freq_shift = 1}, 3);
  add({.dim = 64, .scale = 1000, .max_period = 100}, 1);
  // diffusers' get_timestep_embedding. Its exp may differ in the last place, which an angle of 1000 turns into 6e-5 of
  // the result; here it does not.
  tests.cases.push_back(
      {.attrs = TimestepEmbeddingAttrs{.dim = 10},
       .inputs = {{.shape = {3}, .values = {981, 1, 500.5}}},
       .tolerance = 2,
       .nonfinite = NonFinite::skip,
       .expected = {0.6799572110176086,  -0.03081938624382019, 0.8817986249923706,   -0.7221860289573669,
                    0.8144769668579102,  0.7332518100738525,   -0.9995249509811401,  -0.4716261029243469,
                    -0.6916989088058472, 0.5801959037780762,   0.5403023362159729,   0.9874668121337891,
                    0.9996845126152039,  0.9999920725822449,   0.9999998211860657,   0.8414709568023682,
                    0.15782663226127625, 0.025116223841905594, 0.003981061279773712, 0.0006309573072940111,
                    -0.5513889789581299, -0.7080314755439758,  0.9999842047691345,   -0.40933966636657715,
                    0.9505500197410583,  -0.8342483043670654,  -0.7061808705329895,  0.005621276330202818,
                    0.9123820662498474,  0.31057146191596985}});
  tests.cases.push_back(
      {.attrs = TimestepEmbeddingAttrs{.dim = 5, .flip_sin_to_cos = false, .downscale_freq_shift = 1},
       .inputs = {{.shape = {1}, .values = {7}}},
       .tolerance = 2,
       .nonfinite = NonFinite::skip,
       .expected = {0.6569865942001343, 0.0006999998586252332, 0.7539022564888, 0.9999997615814209, 0.0}});
  tests.benchmarks.push_back({.attrs = TimestepEmbeddingAttrs{}, .inputs = {{.shape = {2}, .low = 0, .high = 1000}}});
  return tests;
}

}  // namespace easel::ops::testing
