// Cases for the harness: sizes around tiles, panels and pieces; batches; the products of attention left unfused.
#include <cmath>

#include "ops/harness.h"

namespace easel::ops::testing {
namespace {

/// a: [batch…, m, k] times b: [batch…, k, n], or b: [batch…, n, k] with `transpose`.
Case make(Shape batch, int64_t m, int64_t n, int64_t k, bool transpose, double alpha = 1) {
  Shape a = batch, b = batch;
  a.push_back(m);
  a.push_back(k);
  b.push_back(transpose ? n : k);
  b.push_back(transpose ? k : n);
  return {.attrs = MatmulAttrs{.transpose_b = transpose, .alpha = alpha},
          .inputs = {{.shape = a}, {.shape = b}},
          .tolerance = 8 + std::sqrt(static_cast<double>(k)) / 4};
}

}  // namespace

OpTests matmul_tests() {
  OpTests t;
  for (const bool transpose : {false, true}) {
    Case by_hand = make({}, 2, 2, 2, transpose, 10);
    by_hand.inputs[0].values = {1, 2, 3, 4};
    by_hand.inputs[1].values = {1, 0, 5, 1};
    by_hand.expected = transpose ? std::vector<double>{10, 70, 30, 190} : std::vector<double>{110, 20, 230, 40};
    t.cases.push_back(by_hand);
    for (const int64_t n : tail_lengths()) {
      t.cases.push_back(make({}, 5, n, 9, transpose));
      t.cases.push_back(make({2}, n, 7, 3, transpose, 0.5));
      t.cases.push_back(make({3}, 4, 5, n, transpose));
    }
    t.cases.push_back(make({2, 3}, 97, 131, 40, transpose, 0.3));  // several blocks and panels
    t.cases.push_back(make({}, 20, 70, 700, transpose, -2));       // several pieces of K
    t.cases.push_back(make({2, 1, 3}, 193, 10, 257, transpose));
    t.cases.push_back(make({2, 2}, 1, 1, 1, transpose));
    t.cases.push_back(make({3}, 2, 1100, 1500, transpose));  // more than is packed at a time
    t.cases.push_back(make({0}, 4, 5, 6, transpose));
    t.cases.push_back(make({2}, 0, 5, 6, transpose));
    t.cases.push_back(make({2}, 4, 0, 6, transpose));
    t.cases.push_back(make({2}, 4, 5, 0, transpose));
  }
  t.benchmarks.push_back(make({16}, 4096, 4096, 40, true, 0.158));
  t.benchmarks.push_back(make({16}, 4096, 40, 4096, false));
  t.benchmarks.push_back(make({16}, 1024, 1024, 80, true, 0.112));
  t.benchmarks.push_back(make({16}, 4096, 77, 40, true, 0.158));
  t.benchmarks.push_back(make({16}, 4096, 40, 77, false));
  t.benchmarks.push_back(make({24}, 77, 77, 64, true, 0.125));
  t.benchmarks.push_back(make({}, 1024, 1024, 1024, false));
  return t;
}

}  // namespace easel::ops::testing
