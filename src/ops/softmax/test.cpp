#include "ops/harness.h"

namespace easel::ops::testing {

OpTests softmax_tests() {
  OpTests tests;
  const Attrs plain = SoftmaxAttrs{}, causal = SoftmaxAttrs{.causal = true};
  for (const int64_t n : tail_lengths()) {
    tests.cases.push_back({.attrs = plain, .inputs = {{.shape = {3, n}, .deviation = 4}}});
    tests.cases.push_back({.attrs = causal, .inputs = {{.shape = {2, n, n}, .deviation = 4}}});
  }
  tests.cases.push_back({.attrs = plain, .inputs = {{.shape = {77}, .mean = 1000, .deviation = 30}}});
  tests.cases.push_back({.attrs = plain, .inputs = {{.shape = {2, 3, 5, 77}}}});
  tests.cases.push_back({.attrs = plain, .inputs = {{.shape = {70, 1003}}}});
  tests.cases.push_back({.attrs = causal, .inputs = {{.shape = {3, 5, 9}}}});
  tests.cases.push_back({.attrs = causal, .inputs = {{.shape = {9, 5}}}});
  tests.cases.push_back({.attrs = plain, .inputs = {{.shape = {0, 5}}}});
  tests.cases.push_back({.attrs = plain,
                         .inputs = {{.shape = {2, 2}, .values = {0, 0, 0, 1.0986122886681098}}},
                         .expected = {0.5, 0.5, 0.25, 0.75}});
  tests.cases.push_back({.attrs = causal,
                         .inputs = {{.shape = {2, 2}, .values = {0, 9, 0, 1.0986122886681098}}},
                         .expected = {1, 0, 0.25, 0.75}});
  tests.benchmarks.push_back({.attrs = plain, .inputs = {{.shape = {16, 4096, 77}}}});
  tests.benchmarks.push_back({.attrs = plain, .inputs = {{.shape = {4096, 4096}}}});
  return tests;
}

}  // namespace easel::ops::testing
