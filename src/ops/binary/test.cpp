#include "ops/harness.h"

namespace easel::ops::testing {

OpTests binary_tests() {
  OpTests tests;
  for (const BinaryKind kind : {BinaryKind::add, BinaryKind::sub, BinaryKind::mul, BinaryKind::div}) {
    const auto add = [&](Shape a, Shape b) {
      tests.cases.push_back(
          {.attrs = BinaryAttrs{kind}, .inputs = {{.shape = a}, {.shape = b, .mean = 3}}, .tolerance = 0.6});
    };
    for (const int64_t n : tail_lengths()) {
      add({n}, {n});
      add({3, n}, {n});
      add({3, n}, {3, 1});
    }
    add({2, 5, 7, 9}, {2, 1, 1, 9});
    add({2, 1, 1, 9}, {2, 5, 7, 9});
    add({2, 5, 7, 9}, {1});
    add({1}, {2, 5, 7, 9});
    add({1}, {1});
    add({4, 1, 6, 1}, {3, 1, 5});
    add({3, 1}, {1, 20});
    add({40000}, {40000});
    add({2, 33000}, {33000});
    add({2, 33000}, {2, 1});
    add({0, 3}, {3});
  }
  tests.cases.push_back({.attrs = BinaryAttrs{BinaryKind::sub},
                         .inputs = {{.shape = {2, 2}, .values = {1, 2, 3, 4}}, {.shape = {2}, .values = {10, 20}}},
                         .expected = {-9, -18, -7, -16}});
  tests.cases.push_back({.attrs = BinaryAttrs{BinaryKind::div},
                         .inputs = {{.shape = {2}, .values = {1, 9}}, {.shape = {2, 1}, .values = {2, 3}}},
                         .expected = {0.5, 4.5, 1.0 / 3, 3}});
  tests.benchmarks.push_back(
      {.attrs = BinaryAttrs{}, .inputs = {{.shape = {2, 64, 64, 320}}, {.shape = {2, 64, 64, 320}}}});
  tests.benchmarks.push_back(
      {.attrs = BinaryAttrs{}, .inputs = {{.shape = {2, 64, 64, 320}}, {.shape = {2, 1, 1, 320}}}});
  return tests;
}

}  // namespace easel::ops::testing
