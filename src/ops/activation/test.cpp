#include "ops/harness.h"

namespace easel::ops::testing {

OpTests activation_tests() {
  OpTests tests;
  for (const Activation kind :
       {Activation::silu, Activation::gelu_erf, Activation::gelu_tanh, Activation::quick_gelu, Activation::relu}) {
    const Attrs attrs = ActivationAttrs{kind};
    for (const int64_t n : tail_lengths()) tests.cases.push_back({.attrs = attrs, .inputs = {{.shape = {n}}}});
    // Errors relative to each result, or to 0.25 where Φ(x) is small and torch cancels worse.
    tests.cases.push_back(
        {.attrs = attrs, .inputs = {{.shape = {5, 20011}, .low = -4, .high = 30}}, .tolerance = 5, .scale = 0.25});
    tests.cases.push_back({.attrs = attrs, .inputs = {{.shape = {3000}, .low = -1e-3, .high = 1e-3}}});
    tests.cases.push_back({.attrs = attrs, .inputs = {{.shape = {3000}, .low = -100, .high = 0}}});
    tests.cases.push_back({.attrs = attrs, .inputs = {{.shape = {3000}, .low = -1e30, .high = 1e30}}});
    tests.cases.push_back({.attrs = attrs, .inputs = {{.shape = {0}}}});
    tests.benchmarks.push_back({.attrs = attrs, .inputs = {{.shape = {2, 64, 64, 320}}}});
  }
  // Absolute errors: its tails are differences from 1.
  for (const int64_t n : tail_lengths())
    tests.cases.push_back({.attrs = ActivationAttrs{Activation::tanh}, .inputs = {{.shape = {n}}}, .scale = 1});
  tests.cases.push_back({.attrs = ActivationAttrs{Activation::tanh},
                         .inputs = {{.shape = {5, 20011}, .low = -30, .high = 30}},
                         .scale = 1});
  const std::vector<double> x = {-1, 0, 1, 3};
  const auto by_hand = [&](Activation kind, std::vector<double> y) {
    tests.cases.push_back(
        {.attrs = ActivationAttrs{kind}, .inputs = {{.shape = {4}, .values = x}}, .expected = std::move(y)});
  };
  by_hand(Activation::silu, {-0.2689414213699951, 0, 0.7310585786300049, 2.8577223804673});
  by_hand(Activation::gelu_erf, {-0.15865525393145707, 0, 0.8413447460685429, 2.99595030590511});
  by_hand(Activation::gelu_tanh, {-0.15880800939172324, 0, 0.8411919906082768, 2.996362607918227});
  by_hand(Activation::quick_gelu, {-0.15420423, 0, 0.84579577, 2.98192869});
  by_hand(Activation::relu, {0, 0, 1, 3});
  by_hand(Activation::tanh, {-0.7615941559557649, 0, 0.7615941559557649, 0.9950547536867305});
  return tests;
}

}  // namespace easel::ops::testing
