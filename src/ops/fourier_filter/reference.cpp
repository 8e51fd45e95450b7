#include <algorithm>
#include <array>
#include <cmath>
#include <complex>

#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/reject.h"

namespace easel::ops {

namespace {

// Frequencies of an axis that the filter scales: 0 and −1.
int64_t low_bins(int64_t size) { return std::min<int64_t>(size, 2); }

double turn(int64_t bin, int64_t position, int64_t size) {
  return -2 * M_PI * static_cast<double>(bin) * static_cast<double>(position) / static_cast<double>(size);
}

// Bin by bin, with complex numbers.
void run(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.output.shape;
  const int64_t height = shape[1], width = shape[2], channels = shape[3];
  const auto* x = static_cast<const float*>(args.inputs[0]);
  const double gain = *static_cast<const float*>(args.inputs[1]) - 1.0;
  auto* y = static_cast<float*>(args.output);
  for (int64_t b = 0; b < shape[0]; ++b)
    for (int64_t c = 0; c < channels; ++c) {
      const auto at = [&](int64_t h, int64_t w) { return ((b * height + h) * width + w) * channels + c; };
      std::array<std::complex<double>, 4> spectrum{};
      for (int64_t u = 0; u < low_bins(height); ++u)
        for (int64_t v = 0; v < low_bins(width); ++v)
          for (int64_t h = 0; h < height; ++h)
            for (int64_t w = 0; w < width; ++w)
              spectrum[static_cast<size_t>(2 * u + v)] +=
                  static_cast<double>(x[at(h, w)]) * std::polar(1.0, -turn(u, h, height) - turn(v, w, width));
      for (int64_t h = 0; h < height; ++h)
        for (int64_t w = 0; w < width; ++w) {
          std::complex<double> low = 0;
          for (int64_t u = 0; u < low_bins(height); ++u)
            for (int64_t v = 0; v < low_bins(width); ++v)
              low += spectrum[static_cast<size_t>(2 * u + v)] * std::polar(1.0, turn(u, h, height) + turn(v, w, width));
          y[at(h, w)] = static_cast<float>(x[at(h, w)] + gain * low.real() / static_cast<double>(height * width));
        }
    }
}

constexpr int64_t kBlock = 32;  // channels of a task

// One task: the sums of x times cosine and sine of each bin, then their share of every pixel. Sums in double.
void filter_block(const KernelArgs& args, int64_t picture, int64_t begin, int64_t count) noexcept {
  const Shape& shape = args.call.output.shape;
  const int64_t height = shape[1], width = shape[2], channels = shape[3];
  const int64_t first = picture * height * width * channels + begin;
  const float* x = static_cast<const float*>(args.inputs[0]) + first;
  float* y = static_cast<float*>(args.output) + first;
  const double gain = (*static_cast<const float*>(args.inputs[1]) - 1.0) / static_cast<double>(height * width);
  const auto bins = static_cast<size_t>(low_bins(height) * low_bins(width));
  std::array<std::array<double, kBlock>, 8> sums{};
  // cosine and sine of every bin at a pixel
  const auto waves = [&](int64_t h, int64_t w) {
    std::array<double, 8> out{};
    for (size_t k = 0; k < bins; ++k) {
      const auto u = static_cast<int64_t>(k) / low_bins(width), v = static_cast<int64_t>(k) % low_bins(width);
      const double angle = turn(u, h, height) + turn(v, w, width);
      out[2 * k] = std::cos(angle);
      out[2 * k + 1] = std::sin(angle);
    }
    return out;
  };
  for (int64_t h = 0; h < height; ++h)
    for (int64_t w = 0; w < width; ++w) {
      const std::array<double, 8> wave = waves(h, w);
      const float* pixel = x + (h * width + w) * channels;
      for (size_t k = 0; k < 2 * bins; ++k)
        for (int64_t c = 0; c < count; ++c) sums[k][static_cast<size_t>(c)] += wave[k] * pixel[c];
    }
  for (int64_t h = 0; h < height; ++h)
    for (int64_t w = 0; w < width; ++w) {
      const std::array<double, 8> wave = waves(h, w);
      const int64_t at = (h * width + w) * channels;
      std::array<double, kBlock> low{};
      for (size_t k = 0; k < 2 * bins; ++k)
        for (int64_t c = 0; c < count; ++c) low[static_cast<size_t>(c)] += wave[k] * sums[k][static_cast<size_t>(c)];
      for (int64_t c = 0; c < count; ++c)
        y[at + c] = static_cast<float>(x[at + c] + gain * low[static_cast<size_t>(c)]);
    }
}

void run_channels(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.output.shape;
  const int64_t blocks = (shape[3] + kBlock - 1) / kBlock;
  for_parts(args.pool, shape[0] * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t channel = task % blocks * kBlock;
      filter_block(args, task / blocks, channel, std::min(kBlock, shape[3] - channel));
    }
  });
}

}  // namespace

EASEL_KERNEL(fourier_filter_channels) = {
    .name = "channels", .reject = reject_other_than_f32_rows, .run = run_channels, .in_place = 1};
EASEL_KERNEL(fourier_filter_reference) = {.name = "reference", .reject = reject_other_than_f32_rows, .run = run};

}  // namespace easel::ops
