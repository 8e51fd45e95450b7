#include <cmath>

#include "ops/harness.h"

namespace easel::ops::testing {

namespace {

Arg constant(Shape shape) { return weight(shape); }

Case conv(Shape x, int64_t outputs, int64_t kernel_h, int64_t kernel_w, Conv2dAttrs attrs, DType dtype = DType::f32) {
  const int64_t channels = x[3];
  const int64_t height = (x[1] + attrs.pad_top + attrs.pad_bottom - kernel_h) / attrs.stride + 1;
  const int64_t width = (x[2] + attrs.pad_left + attrs.pad_right - kernel_w) / attrs.stride + 1;
  Case c{.attrs = attrs, .inputs = {{.shape = x}, weight({outputs, channels, kernel_h, kernel_w}, dtype)}};
  if (attrs.bias) c.inputs.push_back(constant({outputs}));
  if (attrs.channel_bias) c.inputs.push_back({.shape = {x[0], outputs}});
  if (attrs.slope()) c.inputs.push_back(constant({outputs}));
  if (attrs.residual) c.inputs.push_back({.shape = {x[0], height, width, outputs}});
  // bf16 products lose half an epsilon per factor; their errors are independent, the largest result is not.
  c.tolerance = 8 + std::sqrt(static_cast<double>(channels * kernel_h * kernel_w)) / 3;
  if (dtype == DType::bf16) c.precision = DType::bf16, c.tolerance = 1;
  // Where Winograd's method may serve, its transforms round more (four times the direct error in bf16, twice in f32),
  // and differences of infinities spread over a tile.
  if (kernel_h == 3 && kernel_w == 3 && attrs.stride == 1 && channels >= 32 && outputs >= 32) {
    c.tolerance *= dtype == DType::bf16 ? 4 : 2;
    c.nonfinite = NonFinite::spreads;
  }
  // It squashes the results, which errors are measured by, but not the errors of small sums.
  if (attrs.activation == Activation::tanh) c.tolerance *= 4;
  // A slope counts where a sum is below zero, and the smallest sums change sign by rounding.
  if (attrs.slope()) c.nonfinite = NonFinite::skip;
  return c;
}

constexpr DType kWeights[] = {DType::f32, DType::f16, DType::bf16};

Conv2dAttrs same(int stride = 1) {
  return {.stride = stride, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1, .bias = true};
}

}  // namespace

OpTests conv2d_tests() {
  OpTests t;
  // 1 × 1 and 2 × 1 worked out by hand: pixels (1, 2), (3, 4) in one line.
  Case by_hand = conv({1, 1, 2, 2}, 1, 1, 1, {.bias = true});
  by_hand.inputs[0].values = {1, 2, 3, 4};
  by_hand.inputs[1].values = {10, 1};
  by_hand.inputs[2].values = {0.5};
  by_hand.expected = {12.5, 34.5};
  t.cases.push_back(by_hand);
  // Weights that stay in blocks, which run across the taps: blocks of 32 need 32 channels, those of 256 as many.
  std::vector<BlockFormat> encodings(std::begin(kBlockFormats), std::end(kBlockFormats));
  encodings.insert(encodings.end(), {BlockFormat::f8_e4m3, BlockFormat::f8_e5m2});
  for (const BlockFormat encoding : encodings)
    for (const DType dtype : kWeights) {
      const auto packed = [&](Shape x, int64_t outputs, int64_t kernel, Conv2dAttrs attrs) {
        Case c = conv(x, outputs, kernel, kernel, attrs, dtype);
        c.inputs[1] = blocks(c.inputs[1].shape, encoding, dtype);
        t.cases.push_back(c);
      };
      const int64_t block = block_elements(encoding);
      if (block == 1) {
        packed({1, 4, 5, 3}, 20, 3, same());  // an odd row of single elements
        packed({1, 4, 5, 7}, 5, 1, {.stride = 2});
      } else {
        packed({1, 4, 5, 2 * block}, 70, 3, same(2));
        packed({2, 4, 3, block}, 20, 1, {.stride = 2});
        if (block == 32) packed({1, 3, 4, 8}, 5, 2, {.bias = true});
      }
      packed({1, 6, 6, std::max<int64_t>(64, block)}, 33, 3, same());
    }
  for (const DType dtype : kWeights) {
    t.cases.push_back(conv({2, 9, 7, 5}, 13, 3, 3, same(), dtype));
    t.cases.push_back(conv({2, 9, 7, 5}, 13, 3, 3, same(2), dtype));
    t.cases.push_back(conv({1, 8, 8, 32}, 65, 3, 3, {.stride = 2, .pad_bottom = 1, .pad_right = 1}, dtype));
    t.cases.push_back(conv({1, 6, 5, 4}, 20, 1, 1, {.bias = true}, dtype));
    t.cases.push_back(conv({2, 6, 5, 7}, 20, 1, 1, {.stride = 2}, dtype));
    t.cases.push_back(
        conv({2, 6, 5, 3}, 3, 1, 1, {.pad_top = 2, .pad_left = 1, .pad_bottom = 0, .pad_right = 3}, dtype));
    t.cases.push_back(
        conv({1, 7, 9, 3}, 8, 5, 2, {.pad_top = 4, .pad_left = 0, .pad_bottom = 1, .pad_right = 2}, dtype));
    t.cases.push_back(conv({1, 20, 70, 4}, 33, 3, 3, same(), dtype));
    t.cases.push_back(conv({1, 30, 70, 33}, 4, 3, 3, same(), dtype));
    t.cases.push_back(conv({7, 4, 4, 16}, 70, 3, 3, same(), dtype));   // several small pictures in one tile
    t.cases.push_back(conv({1, 3, 3, 700}, 40, 3, 3, same(), dtype));  // K in several pieces
    t.cases.push_back(conv({1, 3, 4, 1301}, 18, 1, 1, same(), dtype));
    t.cases.push_back(conv({1, 40, 130, 3}, 17, 3, 3, same(), dtype));  // several tiles along a line
    t.cases.push_back(conv({1, 3, 3, 4}, 5, 3, 3, {}, dtype));          // one pixel
    t.cases.push_back(conv({0, 5, 5, 4}, 5, 3, 3, same(), dtype));      // nothing
    // Winograd: odd sizes, every remainder of a tile, filters in several pieces, filters transformed once for all
    // tiles.
    t.cases.push_back(conv({2, 16, 16, 33}, 40, 3, 3, same(), dtype));
    t.cases.push_back(conv({1, 17, 23, 48}, 70, 3, 3, same(), dtype));
    t.cases.push_back(conv({1, 15, 18, 32}, 33, 3, 3, {}, dtype));
    t.cases.push_back(
        conv({1, 14, 17, 35}, 64, 3, 3, {.pad_top = 2, .pad_left = 0, .pad_bottom = 3, .pad_right = 1}, dtype));
    t.cases.push_back(conv({1, 8, 9, 701}, 34, 3, 3, same(), dtype));
    t.cases.push_back(conv({1, 16, 16, 650}, 66, 3, 3, same(), dtype));
    t.cases.push_back(conv({1, 57, 58, 32}, 80, 3, 3, same(), dtype));
    t.cases.push_back(conv({1, 9, 11, 66}, 70, 3, 3, same(), dtype));
    t.cases.push_back(conv({3, 8, 8, 129}, 64, 3, 3, same(), dtype));
    t.cases.push_back(
        conv({1, 25, 24, 33}, 35, 3, 3, {.pad_top = 0, .pad_left = 2, .pad_bottom = 1, .pad_right = 1}, dtype));
    for (const bool flag : {false, true}) {
      Conv2dAttrs attrs = same();
      attrs.bias = !flag;
      attrs.channel_bias = flag;
      attrs.residual = true;
      attrs.activation = flag ? Activation::silu : Activation::gelu_erf;
      t.cases.push_back(conv({2, 18, 13, 40}, 37, 3, 3, attrs, dtype));
      t.cases.push_back(conv({2, 10, 13, 64}, 65, 3, 3, attrs, dtype));
    }
    for (const Activation activation :
         {Activation::silu, Activation::gelu_erf, Activation::gelu_tanh, Activation::quick_gelu, Activation::relu,
          Activation::tanh, Activation::prelu}) {
      Conv2dAttrs attrs = same();
      attrs.activation = activation;
      attrs.channel_bias = attrs.residual = true;
      t.cases.push_back(conv({2, 5, 6, 18}, 37, 3, 3, attrs, dtype));
      // Errors count against the largest result, and this one bounds results but not the sums that go into it.
      if (activation == Activation::tanh) t.cases.back().tolerance *= 4;
    }
    Conv2dAttrs rectified = same();
    rectified.activation = Activation::prelu;
    t.cases.push_back(conv({2, 18, 13, 64}, 32, 3, 3, rectified, dtype));
    t.cases.push_back(conv({1, 26, 25, 96}, 37, 3, 3, rectified, dtype));
    rectified.residual = true;
    t.cases.push_back(conv({1, 26, 25, 160}, 64, 3, 3, rectified, dtype));
    Conv2dAttrs attrs = same();
    attrs.bias = false;
    attrs.residual = true;
    t.cases.push_back(conv({2, 5, 6, 6}, 19, 3, 3, attrs, dtype));
  }
  // A few outputs: every number of them, of channels around whole pairs and of lines around a task; odd kernels, all
  // that follows the sums.
  for (const DType dtype : kWeights) {
    for (const int64_t outputs : {1, 2, 3, 4, 5, 8})
      for (const int64_t channels : {32, 33, 67})
        t.cases.push_back(conv({1, 9, 11, channels}, outputs, 3, 3, same(), dtype));
    t.cases.push_back(conv({2, 70, 9, 40}, 3, 3, 3, same(), dtype));
    t.cases.push_back(conv({1, 5, 400, 32}, 4, 3, 3, same(), dtype));
    t.cases.push_back(conv({1, 4, 4, 1400}, 4, 3, 3, same(), dtype));
    t.cases.push_back(
        conv({1, 12, 9, 34}, 2, 5, 2, {.pad_top = 4, .pad_left = 0, .pad_bottom = 1, .pad_right = 2}, dtype));
    t.cases.push_back(conv({1, 12, 9, 34}, 2, 3, 3, {}, dtype));
    Conv2dAttrs attrs = same();
    attrs.channel_bias = attrs.residual = true;
    attrs.activation = Activation::silu;
    t.cases.push_back(conv({2, 12, 9, 34}, 4, 3, 3, attrs, dtype));
  }
  // A picture in bf16.
  const auto narrow = [&](Case c) {
    c.inputs[0].dtype = DType::bf16;
    t.cases.push_back(c);
  };
  for (const int64_t n : {1, 2, 5, 16, 31, 33, 64, 66, 129}) {
    narrow(conv({2, 9, 11, n}, 13, 3, 3, same(), DType::bf16));
    narrow(conv({2, 25, 24, n}, 70, 3, 3, same(), DType::bf16));
    narrow(conv({2, 9, 7, n}, 40, 3, 3, same(2), DType::bf16));
    narrow(conv({2, 6, 5, n}, 20, 1, 1, {.bias = true}, DType::bf16));
    narrow(conv({2, 9, 11, n}, 3, 3, 3, same(), DType::bf16));
    // … and as the result.
    Conv2dAttrs attrs = same();
    attrs.result = DType::bf16;
    narrow(conv({2, 9, 11, 32}, n, 3, 3, attrs, DType::bf16));
    narrow(conv({2, 25, 24, 65}, n, 3, 3, attrs, DType::bf16));
    narrow(conv({2, 25, 24, 128}, 127 + n, 3, 3, attrs, DType::bf16));
    attrs.channel_bias = attrs.residual = true;
    t.cases.push_back(conv({2, 9, 7, 40}, n, 3, 3, attrs, DType::bf16));
  }
  // A result in bf16, and both.
  for (const int64_t n : {1, 3, 16, 31, 32, 70}) {
    Conv2dAttrs attrs = same();
    attrs.result = DType::bf16;
    for (const Activation activation : {Activation::none, Activation::silu, Activation::prelu}) {
      attrs.activation = activation;
      attrs.residual = activation == Activation::silu;
      Case c = conv({2, 25, 24, 40}, n, 3, 3, attrs, DType::bf16);
      t.cases.push_back(c);
      narrow(c);
      t.cases.push_back(conv({2, 9, 7, 5}, n, 3, 3, attrs, DType::bf16));
    }
  }
  // Weights in blocks beside the same expanded, where most of the weights are.
  for (const BlockFormat encoding : {BlockFormat::none, BlockFormat::q8_0, BlockFormat::q4_k})
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const int64_t size : {8, 16}) {
        t.benchmarks.push_back(conv({2, size, size, 1280}, 1280, 3, 3, same(), dtype));
        t.benchmarks.back().inputs[1].encoding = encoding;
        t.benchmarks.back().model = "blocks";
      }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto bench = [&](int64_t b, int64_t size, int64_t in, int64_t out, int stride = 1) {
      t.benchmarks.push_back(conv({b, size, size, in}, out, 3, 3, same(stride), dtype));
      // A norm comes before most of them; latents and sums of blocks, which are made smaller, are f32.
      if (dtype == DType::bf16 && in > 4 && stride == 1) t.benchmarks.back().inputs[0].dtype = DType::bf16;
    };
    bench(2, 64, 320, 320);
    bench(2, 64, 640, 320);
    bench(2, 64, 960, 320);
    bench(2, 32, 640, 640);
    bench(2, 32, 1280, 640);
    bench(2, 16, 1280, 1280);
    bench(2, 16, 2560, 1280);
    bench(2, 8, 1280, 1280);
    bench(2, 8, 2560, 1280);
    bench(2, 64, 4, 320);
    bench(2, 64, 320, 4);
    bench(2, 64, 320, 320, 2);
    bench(2, 32, 640, 640, 2);
    bench(1, 512, 128, 128);
    bench(1, 512, 256, 128);
    bench(1, 256, 256, 256);
    bench(1, 256, 512, 256);
    bench(1, 128, 512, 512);
    bench(1, 64, 512, 512);
    bench(1, 512, 128, 3);
    // The dense blocks of ESRGAN, and its last layers.
    for (const int64_t in : {64, 96, 128, 160}) bench(1, 512, in, 32);
    bench(1, 512, 192, 64);
    bench(1, 1024, 64, 64);
    const auto bench_sdxl = [&](int64_t size, int64_t in, int64_t out, int stride = 1) {
      bench(2, size, in, out, stride);
      t.benchmarks.back().model = "sdxl";
    };
    bench_sdxl(128, 320, 320);
    bench_sdxl(128, 640, 320);
    bench_sdxl(128, 960, 320);
    bench_sdxl(128, 320, 320, 2);
    bench_sdxl(64, 320, 640);
    bench_sdxl(64, 640, 640);
    bench_sdxl(64, 1280, 640);
    bench_sdxl(64, 1920, 640);
    bench_sdxl(32, 640, 1280);
    bench_sdxl(32, 1280, 1280);
    bench_sdxl(32, 2560, 1280);
    for (const int64_t in : {320, 640, 960}) {
      t.benchmarks.push_back(conv({2, 64, 64, in}, 320, 1, 1, {.bias = true}, dtype));
      if (dtype == DType::bf16 && in == 320) t.benchmarks.back().inputs[0].dtype = DType::bf16;  // of a transformer
    }
    t.benchmarks.push_back(conv({2, 32, 32, 1280}, 640, 1, 1, {.bias = true}, dtype));
    t.benchmarks.push_back(conv({2, 16, 16, 2560}, 1280, 1, 1, {.bias = true}, dtype));
  }
  return t;
}

}  // namespace easel::ops::testing
