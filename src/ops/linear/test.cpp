#include <cmath>
#include <utility>

#include "ops/harness.h"

namespace easel::ops::testing {

namespace {

Case linear(Shape x, int64_t columns, LinearAttrs attrs, DType dtype = DType::f32) {
  const int64_t depth = x.back();
  const int64_t outputs = attrs.activation == Activation::geglu ? 2 * columns : columns;
  Case c{.attrs = attrs, .inputs = {{.shape = x}, weight({outputs, depth}, dtype)}};
  if (attrs.bias) c.inputs.push_back(weight({outputs}));
  Shape y = x;
  y[-1] = columns;
  if (attrs.residual) c.inputs.push_back({.shape = y});
  c.tolerance = 8 + std::sqrt(static_cast<double>(depth)) / 3;
  if (dtype == DType::bf16) c.precision = DType::bf16, c.tolerance = 1;
  return c;
}

// The same with a side branch of that rank.
Case with_side(Case c, int64_t rank) {
  auto& attrs = std::get<LinearAttrs>(c.attrs);
  attrs.low_rank = true;
  Shape t = c.inputs[0].shape;
  t[-1] = rank;
  c.inputs.push_back({.shape = t});
  c.inputs.push_back(weight({c.inputs[1].shape[0], rank}, c.inputs[1].dtype));
  return c;
}

constexpr DType kWeights[] = {DType::f32, DType::f16, DType::bf16};

}  // namespace

OpTests linear_tests() {
  OpTests t;
  Case by_hand = linear({2, 2}, 3, {.bias = true});
  by_hand.inputs[0].values = {1, 2, 3, 4};
  by_hand.inputs[1].values = {1, 0, 0, 1, 1, 1};
  by_hand.inputs[2].values = {0, 10, 100};
  by_hand.expected = {1, 12, 103, 3, 14, 107};
  t.cases.push_back(by_hand);
  for (const DType dtype : kWeights) {
    for (const int64_t n : tail_lengths()) {
      t.cases.push_back(linear({3, n}, 5, {}, dtype));
      t.cases.push_back(linear({7, 9}, n, {.bias = true}, dtype));
      t.cases.push_back(linear({n, 6}, 35, {.residual = true}, dtype));
    }
    t.cases.push_back(linear({2, 3, 5, 37}, 130, {.bias = true, .residual = true}, dtype));
    t.cases.push_back(linear({4}, 6, {}, dtype));
    t.cases.push_back(linear({0, 4}, 6, {.bias = true}, dtype));
    t.cases.push_back(linear({5, 0}, 6, {.bias = true}, dtype));
    t.cases.push_back(linear({401, 33}, 70, {.bias = true}, dtype));  // several blocks of rows
    t.cases.push_back(linear({20, 3001}, 70, {}, dtype));             // several pieces of K
    t.cases.push_back(linear({1, 1281}, 200, {.bias = true}, dtype));
    for (const Activation activation :
         {Activation::silu, Activation::gelu_erf, Activation::gelu_tanh, Activation::quick_gelu, Activation::geglu})
      for (const int64_t n : {1, 8, 16, 31, 40, 64, 97}) {
        const bool flag = n % 2 != 0;
        t.cases.push_back(linear({5, 21}, n, {.bias = flag, .residual = !flag, .activation = activation}, dtype));
      }
  }
  for (const DType dtype : kWeights) {
    for (const int64_t n : tail_lengths())
      if (n > 0) t.cases.push_back(with_side(linear({7, n}, 70, {.bias = true}, dtype), 2 * (n % 17) + 2));
    t.cases.push_back(with_side(linear({2, 3, 5, 37}, 130, {.bias = true, .residual = true}, dtype), 16));
    t.cases.push_back(with_side(linear({401, 33}, 70, {.residual = true}, dtype), 32));
    t.cases.push_back(with_side(linear({20, 3001}, 70, {}, dtype), 20));
    t.cases.push_back(with_side(linear({1, 5}, 200, {.bias = true}, dtype), 64));  // a rank above the depth
    t.cases.push_back(with_side(linear({5, 21}, 97, {.bias = true, .activation = Activation::geglu}, dtype), 16));
    t.cases.push_back(with_side(linear({5, 21}, 40, {.activation = Activation::silu}, dtype), 6));
    t.cases.push_back(with_side(linear({0, 4}, 60, {.bias = true}, dtype), 16));
  }
  // Activations in bf16, on either side or both.
  const auto narrow = [&](Case c, bool in, bool out) {
    if (in) c.inputs[0].dtype = DType::bf16;
    if (out) std::get<LinearAttrs>(c.attrs).result = DType::bf16;
    t.cases.push_back(c);
  };
  for (const auto& [in, out] : {std::pair(true, false), std::pair(false, true), std::pair(true, true)}) {
    for (const int64_t n : tail_lengths()) narrow(linear({3, 2 * n}, n, {.bias = true}, DType::bf16), in, out);
    narrow(linear({401, 34}, 70, {.bias = true, .residual = true}, DType::bf16), in, out);
    narrow(linear({20, 3002}, 70, {}, DType::bf16), in, out);
    narrow(linear({5, 22}, 97, {.bias = true, .activation = Activation::geglu}, DType::bf16), in, out);
    narrow(linear({5, 22}, 40, {.activation = Activation::silu}, DType::bf16), in, out);
  }
  for (const bool x : {true, false})
    for (const bool side : {true, false}) {
      Case c = with_side(linear({401, 34}, 70, {.bias = true, .residual = true}, DType::bf16), 16);
      if (x) c.inputs[0].dtype = DType::bf16;
      if (side) c.inputs[4].dtype = DType::bf16;
      t.cases.push_back(c);
      c = with_side(linear({9, 22}, 97, {.activation = Activation::geglu}, DType::bf16), 32);
      if (x) c.inputs[0].dtype = DType::bf16;
      if (side) c.inputs[2].dtype = DType::bf16;
      std::get<LinearAttrs>(c.attrs).result = DType::bf16;
      t.cases.push_back(c);
    }
  // Weights that stay in blocks.
  const auto packed = [&](Shape x, int64_t columns, BlockFormat encoding, DType dtype, LinearAttrs attrs) {
    Case c = linear(x, columns, attrs, dtype);
    c.inputs[1] = blocks(c.inputs[1].shape, encoding, dtype);
    t.cases.push_back(c);
    return c;
  };
  std::vector<BlockFormat> encodings(std::begin(kBlockFormats), std::end(kBlockFormats));
  for (const BlockFormat fp8 : {BlockFormat::f8_e4m3, BlockFormat::f8_e5m2}) {
    encodings.push_back(fp8);
    for (const DType dtype : kWeights)
      for (const int64_t n : {1, 2, 3, 15, 16, 17, 33}) packed({3, n}, 37, fp8, dtype, {.bias = true});
  }
  for (const BlockFormat encoding : encodings)
    for (const DType dtype : kWeights) {
      const int64_t block = std::max<int64_t>(8, block_elements(encoding));
      for (const int64_t n : {1, 4, 7, 16, 33}) packed({5, block}, n, encoding, dtype, {.bias = n % 2 == 0});
      t.cases.push_back(with_side(packed({201, 2 * block}, 40, encoding, dtype, {.bias = true, .residual = true}), 16));
      packed({3, 3072}, 70, encoding, dtype, {});   // several pieces of K
      packed({14, 2816}, 12, encoding, dtype, {});  // pieces that end between blocks of 256 are not cut there
      packed({5, block}, 97, encoding, dtype, {.bias = true, .activation = Activation::geglu});
      packed({2, 2, block}, 40, encoding, dtype, {.activation = Activation::silu});
      if (dtype != DType::bf16) continue;
      Case c = packed({33, 2 * block}, 70, encoding, dtype, {.bias = true});
      narrow(c, true, true);
    }
  // Beside the same weights expanded.
  for (const BlockFormat encoding : {BlockFormat::none, BlockFormat::q8_0, BlockFormat::q4_k, BlockFormat::f8_e4m3})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const int64_t rows : {2, 154, 2048}) {
        t.benchmarks.push_back(linear({rows, 1280}, 1280, {.bias = true}, dtype));
        t.benchmarks.back().inputs[1].encoding = encoding;
        t.benchmarks.back().model = "blocks";
      }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto bench = [&](int64_t m, int64_t n, int64_t k, LinearAttrs attrs = {.bias = true}) {
      t.benchmarks.push_back(linear({m, k}, n, attrs, dtype));
      // What norms, gates and attention hand over; text and time embeddings come in f32.
      if (dtype == DType::bf16 && m > 154) t.benchmarks.back().inputs[0].dtype = DType::bf16;
    };
    bench(8192, 320, 320);
    bench(8192, 960, 320);
    bench(8192, 1280, 320, {.bias = true, .activation = Activation::geglu});
    bench(8192, 320, 1280, {.bias = true, .residual = true});
    bench(2048, 640, 640);
    bench(2048, 2560, 640, {.bias = true, .activation = Activation::geglu});
    bench(2048, 640, 2560, {.bias = true, .residual = true});
    bench(512, 1280, 1280);
    bench(512, 5120, 1280, {.bias = true, .activation = Activation::geglu});
    bench(512, 1280, 5120, {.bias = true, .residual = true});
    bench(128, 1280, 1280);
    bench(154, 640, 768);
    bench(154, 3072, 768, {.bias = true, .activation = Activation::quick_gelu});
    bench(2, 1280, 320, {.bias = true, .activation = Activation::silu});
    bench(2, 1280, 1280);
    bench(1, 1280, 1280);
    bench(8192, 2560, 320);
    const auto bench_for = [&](std::string_view model, int64_t m, int64_t n, int64_t k,
                               LinearAttrs attrs = {.bias = true}) {
      bench(m, n, k, attrs);
      t.benchmarks.back().model = model;
    };
    // 1024×1024, both branches of guidance: 4096 tokens of 640 channels, 1024 of 1280.
    bench_for("sdxl", 8192, 640, 640);
    bench_for("sdxl", 8192, 1920, 640);
    bench_for("sdxl", 8192, 2560, 640, {.bias = true, .activation = Activation::geglu});
    bench_for("sdxl", 8192, 640, 2560, {.bias = true, .residual = true});
    bench_for("sdxl", 2048, 1280, 1280);
    bench_for("sdxl", 2048, 3840, 1280);
    bench_for("sdxl", 2048, 5120, 1280, {.bias = true, .activation = Activation::geglu});
    bench_for("sdxl", 2048, 1280, 5120, {.bias = true, .residual = true});
    bench_for("sdxl", 154, 2560, 2048);
    // 1024×1024: 4096 tokens of the picture, 512 of the text.
    bench_for("flux", 4096, 9216, 3072);
    bench_for("flux", 4096, 12288, 3072, {.bias = true, .activation = Activation::gelu_tanh});
    bench_for("flux", 4096, 3072, 12288, {.bias = true, .residual = true});
    bench_for("flux", 4608, 21504, 3072);
    bench_for("flux", 4608, 3072, 15360, {.bias = true, .residual = true});
    // 832×480, 81 frames: 21·30·52 tokens.
    bench_for("wan", 32760, 1536, 1536);
    bench_for("wan", 32760, 8960, 1536, {.bias = true, .activation = Activation::gelu_tanh});
    bench_for("wan", 32760, 1536, 8960, {.bias = true, .residual = true});
  }
  return t;
}

}  // namespace easel::ops::testing
