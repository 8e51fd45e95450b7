#include "ops/harness.h"

namespace easel::ops::testing {

OpTests geglu_tests() {
  OpTests tests;
  for (const int64_t n : tail_lengths())
    tests.cases.push_back({.attrs = GegluAttrs{}, .inputs = {{.shape = {3, 2 * n}, .deviation = 2}}});
  tests.cases.push_back({.attrs = GegluAttrs{}, .inputs = {{.shape = {2, 37, 2 * 517}}}});
  tests.cases.push_back({.attrs = GegluAttrs{}, .inputs = {{.shape = {10}}}});
  tests.cases.push_back({.attrs = GegluAttrs{},
                         .inputs = {{.shape = {2, 4}, .values = {2, 3, -1, 1, 5, 7, 0, 3}}},
                         .expected = {-0.31731050786291415, 2.5240342382056287, 0, 20.97165214133577}});
  tests.benchmarks.push_back({.attrs = GegluAttrs{}, .inputs = {{.shape = {2, 4096, 2560}}}});
  tests.benchmarks.push_back({.attrs = GegluAttrs{}, .inputs = {{.shape = {2, 256, 10240}}}});
  return tests;
}

}  // namespace easel::ops::testing
