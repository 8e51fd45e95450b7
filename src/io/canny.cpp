#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/fail.h"
#include "io/edges.h"

namespace easel::io {

namespace {

constexpr int kShift = 15;
constexpr int64_t kTangent = 13573;  // tan 22.5° · 2¹⁵, rounded: what separates the four directions

struct Gradient {
  int dx = 0, dy = 0;
};

/// Sobel's of one channel; samples outside are those of the edge.
Gradient sobel(const Image& picture, int64_t y, int64_t x, int channel) {
  const auto at = [&](int64_t v, int64_t u) -> int {
    v = std::clamp<int64_t>(v, 0, picture.height - 1), u = std::clamp<int64_t>(u, 0, picture.width - 1);
    return picture.pixels[static_cast<size_t>((v * picture.width + u) * picture.channels + channel)];
  };
  return {
      at(y - 1, x + 1) + 2 * at(y, x + 1) + at(y + 1, x + 1) - at(y - 1, x - 1) - 2 * at(y, x - 1) - at(y + 1, x - 1),
      at(y + 1, x - 1) + 2 * at(y + 1, x) + at(y + 1, x + 1) - at(y - 1, x - 1) - 2 * at(y - 1, x) - at(y - 1, x + 1)};
}

enum : uint8_t { kNone, kWeak, kStrong };

}  // namespace

Image canny(const Image& picture, const CannyOptions& options) {
  if ((picture.channels != 1 && picture.channels != 3) || picture.width < 1 || picture.height < 1)
    fail(ErrorCode::invalid_argument, "canny: expected a picture of 1 or 3 channels, found {}×{}×{}", picture.width,
         picture.height, picture.channels);
  double low = std::min(options.low_threshold, options.high_threshold),
         high = std::max(options.low_threshold, options.high_threshold);
  if (!(low >= 0) || !std::isfinite(high))
    fail(ErrorCode::invalid_argument, "canny: expected thresholds of at least 0, found {} and {}",
         options.low_threshold, options.high_threshold);
  if (options.l2_gradient) {  // squares are compared
    low = std::min(32767.0, low), high = std::min(32767.0, high);
    low *= low, high *= high;
  }
  const auto low_bound = static_cast<int64_t>(std::floor(low)), high_bound = static_cast<int64_t>(std::floor(high));

  const int64_t width = picture.width, height = picture.height;
  std::vector<Gradient> gradients(static_cast<size_t>(width * height));
  std::vector<int> magnitudes(static_cast<size_t>((width + 2) * (height + 2)));  // with zeros around
  const auto magnitude = [&](int64_t y, int64_t x) -> int& {
    return magnitudes[static_cast<size_t>((y + 1) * (width + 2) + x + 1)];
  };
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      for (int c = 0; c < picture.channels; ++c) {
        const Gradient g = sobel(picture, y, x, c);
        const int m = options.l2_gradient ? g.dx * g.dx + g.dy * g.dy : std::abs(g.dx) + std::abs(g.dy);
        if (c > 0 && m <= magnitude(y, x)) continue;
        magnitude(y, x) = m;
        gradients[static_cast<size_t>(y * width + x)] = g;
      }

  std::vector<uint8_t> found(static_cast<size_t>(width * height), kNone);
  std::vector<int64_t> strong;
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      const int m = magnitude(y, x);
      if (m <= low_bound) continue;
      const Gradient g = gradients[static_cast<size_t>(y * width + x)];
      const int64_t across = std::abs(g.dx), along = int64_t{std::abs(g.dy)} << kShift;
      const int64_t flat = across * kTangent, steep = flat + (across << (kShift + 1));  // tan 67.5° = tan 22.5° + 2
      bool largest;
      if (along < flat) {
        largest = m > magnitude(y, x - 1) && m >= magnitude(y, x + 1);
      } else if (along > steep) {
        largest = m > magnitude(y - 1, x) && m >= magnitude(y + 1, x);
      } else {
        const int s = (g.dx ^ g.dy) < 0 ? -1 : 1;
        largest = m > magnitude(y - 1, x - s) && m > magnitude(y + 1, x + s);
      }
      if (!largest) continue;
      const int64_t at = y * width + x;
      found[static_cast<size_t>(at)] = m > high_bound ? kStrong : kWeak;
      if (m > high_bound) strong.push_back(at);
    }
  while (!strong.empty()) {
    const int64_t at = strong.back(), y = at / width, x = at % width;
    strong.pop_back();
    for (int64_t v = std::max<int64_t>(0, y - 1); v <= std::min(height - 1, y + 1); ++v)
      for (int64_t u = std::max<int64_t>(0, x - 1); u <= std::min(width - 1, x + 1); ++u)
        if (uint8_t& neighbour = found[static_cast<size_t>(v * width + u)]; neighbour == kWeak) {
          neighbour = kStrong;
          strong.push_back(v * width + u);
        }
  }

  Image out{width, height, 3, std::vector<uint8_t>(3 * found.size())};
  for (size_t i = 0; i < found.size(); ++i)
    std::fill_n(&out.pixels[3 * i], 3, static_cast<uint8_t>(found[i] == kStrong ? 255 : 0));
  return out;
}

}  // namespace easel::io
