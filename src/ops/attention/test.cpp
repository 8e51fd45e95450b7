// Cases for the harness: head sizes and lengths around tiles and blocks, masks, extreme scores; the shapes of SD 1.5.
#include <cmath>

#include "ops/harness.h"

namespace easel::ops::testing {
namespace {

struct Sizes {
  int64_t batch, queries, keys, heads, head_size;
  bool causal = false, shared = false;
  double scale = 0;  ///< 0: 1/√D
};

Case make(const Sizes& s, DType precision) {
  const double scale = s.scale != 0 ? s.scale : 1 / std::sqrt(static_cast<double>(s.head_size));
  const int64_t channels = s.heads * s.head_size, kv_batch = s.shared ? 1 : s.batch;
  Case c{.attrs =
             AttentionAttrs{
                 .heads = static_cast<int>(s.heads), .scale = scale, .causal = s.causal, .precision = precision},
         .inputs = {{.shape = {s.batch, s.queries, channels}},
                    {.shape = {kv_batch, s.keys, channels}},
                    {.shape = {kv_batch, s.keys, channels}}},
         .tolerance = precision == DType::f32 ? 16.0 : 4.0,
         .precision = precision};
  // A hidden key counts with weight zero, and zero times infinity is NaN.
  if (s.causal) c.nonfinite = NonFinite::spreads;
  return c;
}

Case narrow(Case c) {
  for (Arg& input : c.inputs) input.dtype = DType::bf16;
  std::get<AttentionAttrs>(c.attrs).result = DType::bf16;
  return c;
}

/// Scores of ±65536 that are exact in f32 and bf16: nothing may overflow, and ties must share.
Case extreme(DType precision) {
  Case c = make({1, 70, 131, 1, 8, false, false, 0.25}, precision);
  for (int i = 0; i < 70 * 8; ++i) c.inputs[0].values.push_back(128.0 * (i / 8 % 3 - 1));
  for (int i = 0; i < 131 * 8; ++i) c.inputs[1].values.push_back(64.0 * (i / 8 * 5 % 9 - 4));
  c.nonfinite = NonFinite::skip;
  return c;
}

}  // namespace

OpTests attention_tests() {
  OpTests t;
  for (DType precision : {DType::f32, DType::bf16}) {
    for (int64_t d : {1, 3, 8, 13, 40, 64, 80, 160, 257, 512}) t.cases.push_back(make({1, 35, 41, 2, d}, precision));
    for (int64_t s : {1, 2, 15, 16, 17, 31, 33, 48, 63, 64, 65, 77, 129})
      t.cases.push_back(make({1, s, 29, 2, 8}, precision));
    for (int64_t n : {1, 2, 3, 5, 6, 7, 12, 77, 119, 120, 121, 123, 240, 300, 1000})
      t.cases.push_back(make({1, 19, n, 1, 10}, precision));
    t.cases.push_back(make({2, 130, 130, 3, 40}, precision));
    t.cases.push_back(make({2, 77, 77, 2, 64, true}, precision));
    t.cases.push_back(make({1, 200, 200, 2, 8, true}, precision));
    t.cases.push_back(make({1, 1, 1, 1, 8, true}, precision));
    t.cases.push_back(make({0, 5, 7, 2, 8}, precision));
    t.cases.push_back(make({2, 0, 7, 2, 8}, precision));
    t.cases.push_back(make({3, 66, 77, 2, 40, false, true}, precision));
    t.cases.push_back(make({2, 33, 33, 1, 8, true, true}, precision));
    t.cases.push_back(make({1, 20, 30, 2, 8, false, false, -0.4}, precision));
    t.cases.push_back(make({1, 20, 30, 2, 8, false, false, 2.5}, precision));
    t.cases.push_back(extreme(precision));

    // softmax(ln 1, ln 3) = (1/4, 3/4) over the values (4, 8): 7.
    Case hand = make({1, 1, 2, 1, 1, false, false, std::log(3.0)}, precision);
    hand.inputs[0].values = {1};
    hand.inputs[1].values = {0, 1};
    hand.inputs[2].values = {4, 8};
    hand.expected = {7};
    t.cases.push_back(hand);
    hand = make({1, 2, 2, 1, 1, true, false, std::log(3.0)}, precision);
    hand.inputs[0].values = {1, 1};
    hand.inputs[1].values = {0, 1};
    hand.inputs[2].values = {4, 8};
    hand.expected = {4, 7};
    t.cases.push_back(hand);
  }
  // bf16 in memory: queries, keys and values, the result, or all.
  for (int which = 1; which < 16; ++which)
    for (const Sizes& sizes : {Sizes{2, 130, 131, 3, 40}, Sizes{1, 19, 300, 2, 10}, Sizes{1, 66, 77, 2, 512}}) {
      Case c = make(sizes, DType::bf16);
      for (size_t i = 0; i < 3; ++i)
        if (which >> i & 1) c.inputs[i].dtype = DType::bf16;
      if (which >> 3) std::get<AttentionAttrs>(c.attrs).result = DType::bf16;
      t.cases.push_back(c);
    }
  t.cases.push_back(narrow(make({2, 77, 77, 2, 64, true}, DType::bf16)));
  t.cases.push_back(narrow(make({3, 66, 77, 2, 40, false, true}, DType::bf16)));
  // More keys and values than are packed at a time.
  t.cases.push_back(make({1, 3, 9000, 4, 80}, DType::f32));
  for (DType precision : {DType::f32, DType::bf16}) {
    t.benchmarks.push_back(make({2, 4096, 4096, 8, 40}, precision));
    t.benchmarks.push_back(make({2, 1024, 1024, 8, 80}, precision));
    t.benchmarks.push_back(make({2, 256, 256, 8, 160}, precision));
    t.benchmarks.push_back(make({2, 64, 64, 8, 160}, precision));
    t.benchmarks.push_back(make({2, 4096, 77, 8, 40}, precision));
    t.benchmarks.push_back(make({2, 1024, 77, 8, 80}, precision));
    t.benchmarks.push_back(make({2, 256, 77, 8, 160}, precision));
    t.benchmarks.push_back(make({1, 4096, 4096, 1, 512}, precision));
    t.benchmarks.push_back(make({2, 77, 77, 12, 64, true}, precision));
    const auto bench_for = [&](std::string_view model, const Sizes& sizes) {
      t.benchmarks.push_back(make(sizes, precision));
      t.benchmarks.back().model = model;
    };
    bench_for("sdxl", {2, 4096, 4096, 10, 64});
    bench_for("sdxl", {2, 1024, 1024, 20, 64});
    bench_for("sdxl", {2, 4096, 77, 10, 64});
    bench_for("sdxl", {2, 1024, 77, 20, 64});
    bench_for("flux", {1, 4608, 4608, 24, 128});
    bench_for("wan", {1, 32760, 32760, 12, 128});
    bench_for("wan", {1, 32760, 512, 12, 128});
  }
  return t;
}

}  // namespace easel::ops::testing
