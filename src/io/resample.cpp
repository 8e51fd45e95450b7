#include "io/resample.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/fail.h"

namespace easel::io {

namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;

double sinc(double x) {
  if (x == 0) return 1;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) { return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0; }

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// For every sample of the result: the first of the source that it reads, how many, and their weights.
struct Weights {
  struct Range {
    int64_t first, count;
  };
  std::vector<Range> ranges;
  std::vector<int32_t> values;
  size_t most = 0;  // per sample
};

Weights weights_for(int64_t in_size, double begin, double end, int64_t out_size, Resample filter) {
  double (*const function)(double) = filter == Resample::lanczos ? lanczos : bicubic;
  // In float32, as Pillow hands its boxes around.
  const auto in0 = static_cast<double>(static_cast<float>(begin)), in1 = static_cast<double>(static_cast<float>(end));
  const double scale = (in1 - in0) / static_cast<double>(out_size), filter_scale = std::max(scale, 1.0);
  const double support = (filter == Resample::lanczos ? 3 : 2) * filter_scale, inverse = 1 / filter_scale;
  Weights out;
  out.most = static_cast<size_t>(std::ceil(support)) * 2 + 1;
  out.values.assign(out.most * static_cast<size_t>(out_size), 0);
  std::vector<double> exact(out.most);
  for (int64_t i = 0; i < out_size; ++i) {
    const double center = in0 + (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(center - support + 0.5));
    const int64_t count = std::min(in_size, static_cast<int64_t>(center + support + 0.5)) - first;
    double sum = 0;
    for (int64_t k = 0; k < count; ++k) {
      exact[static_cast<size_t>(k)] = function((static_cast<double>(k + first) - center + 0.5) * inverse);
      sum += exact[static_cast<size_t>(k)];
    }
    int32_t* to = out.values.data() + static_cast<size_t>(i) * out.most;
    for (int64_t k = 0; k < count; ++k) {
      const double weight =
          (sum != 0 ? exact[static_cast<size_t>(k)] / sum : exact[static_cast<size_t>(k)]) * (1 << kPrecisionBits);
      to[k] = static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    out.ranges.push_back({first, count});
  }
  return out;
}

uint8_t clamped(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255)); }

// Rows first … last − 1 of the source, each to the new width.
Image along_rows(const Image& image, int64_t width, const Weights& weights, int64_t first, int64_t last) {
  Image out{width, last - first, image.channels, {}};
  const auto channels = static_cast<size_t>(image.channels);
  out.pixels.resize(static_cast<size_t>(out.width * out.height) * channels);
  uint8_t* to = out.pixels.data();
  for (int64_t y = first; y < last; ++y) {
    const uint8_t* row = image.pixels.data() + static_cast<size_t>(y * image.width) * channels;
    for (int64_t x = 0; x < width; ++x) {
      const auto [begin, count] = weights.ranges[static_cast<size_t>(x)];
      const int32_t* w = weights.values.data() + static_cast<size_t>(x) * weights.most;
      for (size_t c = 0; c < channels; ++c) {
        int32_t sum = 1 << (kPrecisionBits - 1);
        for (int64_t k = 0; k < count; ++k) sum += row[static_cast<size_t>(begin + k) * channels + c] * w[k];
        *to++ = clamped(sum);
      }
    }
  }
  return out;
}

// offset: of the source's first row in the rows that the weights count.
Image along_columns(const Image& image, int64_t height, const Weights& weights, int64_t offset) {
  Image out{image.width, height, image.channels, {}};
  const size_t row = static_cast<size_t>(image.width) * static_cast<size_t>(image.channels);
  out.pixels.resize(row * static_cast<size_t>(height));
  std::vector<int32_t> sums(row);
  for (int64_t y = 0; y < height; ++y) {
    const auto [begin, count] = weights.ranges[static_cast<size_t>(y)];
    const int32_t* w = weights.values.data() + static_cast<size_t>(y) * weights.most;
    std::fill(sums.begin(), sums.end(), 1 << (kPrecisionBits - 1));
    for (int64_t k = 0; k < count; ++k) {
      const uint8_t* from = image.pixels.data() + static_cast<size_t>(begin + k - offset) * row;
      for (size_t j = 0; j < row; ++j) sums[j] += from[j] * w[k];
    }
    uint8_t* to = out.pixels.data() + static_cast<size_t>(y) * row;
    for (size_t j = 0; j < row; ++j) to[j] = clamped(sums[j]);
  }
  return out;
}

Image transposed(const Image& image) { return oriented(image, 5); }

// One box blur along rows: (ww · Σ of 2r + 1 samples + fw · the two beside them) / 2²⁴, rounded. r may be 0.
void box_blur_rows(Image& image, int radius, uint32_t ww, uint32_t fw) {
  const auto channels = static_cast<int64_t>(image.channels);
  std::vector<uint8_t> row(static_cast<size_t>(image.width));
  for (int64_t y = 0; y < image.height; ++y)
    for (int64_t c = 0; c < channels; ++c) {
      uint8_t* line = image.pixels.data() + y * image.width * channels + c;
      for (int64_t x = 0; x < image.width; ++x) row[static_cast<size_t>(x)] = line[x * channels];
      const auto at = [&](int64_t x) -> uint32_t {
        return row[static_cast<size_t>(std::clamp<int64_t>(x, 0, image.width - 1))];
      };
      uint32_t sum = 0;
      for (int64_t x = -radius; x <= radius; ++x) sum += at(x);
      for (int64_t x = 0; x < image.width; ++x) {
        const uint32_t bulk = sum * ww + (at(x - radius - 1) + at(x + radius + 1)) * fw;
        line[x * channels] = static_cast<uint8_t>((bulk + (1u << 23)) >> 24);
        sum += at(x + radius + 1) - at(x - radius);
      }
    }
}

void grow_rows(Image& image, int pixels) {
  const int64_t reach = std::abs(pixels), channels = image.channels;
  std::vector<uint8_t> row(static_cast<size_t>(image.width));
  const auto better = [&](uint8_t a, uint8_t b) { return pixels > 0 ? std::max(a, b) : std::min(a, b); };
  for (int64_t y = 0; y < image.height; ++y)
    for (int64_t c = 0; c < channels; ++c) {
      uint8_t* line = image.pixels.data() + y * image.width * channels + c;
      for (int64_t x = 0; x < image.width; ++x) row[static_cast<size_t>(x)] = line[x * channels];
      for (int64_t x = 0; x < image.width; ++x) {
        uint8_t best = row[static_cast<size_t>(x)];
        const int64_t end = std::min(image.width - 1, x + reach);
        for (int64_t k = std::max<int64_t>(0, x - reach); k <= end; ++k)
          best = better(best, row[static_cast<size_t>(k)]);
        line[x * channels] = best;
      }
    }
}

}  // namespace

Image resize(const Image& image, int64_t width, int64_t height, Resample filter) {
  return resize(image, width, height, filter,
                {0, 0, static_cast<double>(image.width), static_cast<double>(image.height)});
}

Image resize(const Image& image, int64_t width, int64_t height, Resample filter, const Box& box) {
  if (width < 1 || height < 1 || width > kMaxImageSide || height > kMaxImageSide)
    fail(ErrorCode::invalid_argument, "resize: expected 1 to {} pixels a side, found {}×{}", kMaxImageSide, width,
         height);
  const auto w = static_cast<double>(image.width), h = static_cast<double>(image.height);
  if (!(box.left >= 0 && box.top >= 0 && box.left <= box.right && box.top <= box.bottom && box.right <= w &&
        box.bottom <= h))
    fail(ErrorCode::invalid_argument, "resize: expected a box within {}×{}, found {},{} to {},{}", image.width,
         image.height, box.left, box.top, box.right, box.bottom);
  const bool rows = width != image.width || box.left != 0 || box.right != w;
  const bool columns = height != image.height || box.top != 0 || box.bottom != h;
  if (!rows && !columns) return image;
  const Weights vertical = weights_for(image.height, box.top, box.bottom, height, filter);
  if (!rows) return along_columns(image, height, vertical, 0);
  const int64_t first = columns ? vertical.ranges.front().first : 0;
  const int64_t last = columns ? vertical.ranges.back().first + vertical.ranges.back().count : image.height;
  const Image wide =
      along_rows(image, width, weights_for(image.width, box.left, box.right, width, filter), first, last);
  return columns ? along_columns(wide, height, vertical, first) : wide;
}

Image gaussian_blur(Image image, double radius) {
  if (!(radius >= 0 && radius <= 1000))
    fail(ErrorCode::invalid_argument, "blur: expected a radius of 0 to 1000 pixels, found {}", radius);
  if (radius == 0 || image.pixels.empty()) return image;
  // Pillow computes the box in float32.
  constexpr int passes = 3;
  const float variance = static_cast<float>(radius) * static_cast<float>(radius) / passes;
  const auto length = static_cast<float>(std::sqrt(12.0 * static_cast<double>(variance) + 1.0));
  auto whole = static_cast<float>(std::floor((length - 1.0f) / 2.0));
  float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  part /= 6 * (variance - (whole + 1) * (whole + 1));
  const float box = whole + part;
  const int reach = static_cast<int>(box);
  const auto ww = static_cast<uint32_t>(static_cast<float>(1 << 24) / (box * 2 + 1));
  const uint32_t fw = ((1u << 24) - (static_cast<uint32_t>(reach) * 2 + 1) * ww) / 2;
  for (int i = 0; i < passes; ++i) box_blur_rows(image, reach, ww, fw);
  image = transposed(image);
  for (int i = 0; i < passes; ++i) box_blur_rows(image, reach, ww, fw);
  return transposed(image);
}

Image grow(Image image, int pixels) {
  if (pixels == 0 || image.pixels.empty()) return image;
  grow_rows(image, pixels);
  image = transposed(image);
  grow_rows(image, pixels);
  return transposed(image);
}

Image to_gray(const Image& image) {
  if (image.channels == 1) return image;
  Image out{image.width, image.height, 1, {}};
  out.pixels.resize(static_cast<size_t>(image.width * image.height));
  const uint8_t* from = image.pixels.data();
  for (uint8_t& gray : out.pixels) {
    gray = static_cast<uint8_t>((from[0] * 19595u + from[1] * 38470u + from[2] * 7471u + 0x8000u) >> 16);
    from += 3;
  }
  return out;
}

}  // namespace easel::io
