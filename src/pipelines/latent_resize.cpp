#include "pipelines/latent_resize.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace easel::pipelines {

namespace {

// Result i is (1 − weight)·source[low] + weight·source[high].
struct Tap {
  int64_t low, high;
  float weight;
};

std::vector<Tap> taps_of(int64_t from, int64_t to, LatentFilter filter) {
  const float scale = static_cast<float>(from) / static_cast<float>(to);  // torch computes positions in float32
  std::vector<Tap> out;
  for (int64_t i = 0; i < to; ++i) {
    const float center = (static_cast<float>(i) + 0.5f) * scale;
    if (filter == LatentFilter::nearest_exact) {
      const auto at = std::min(static_cast<int64_t>(std::floor(center)), from - 1);
      out.push_back({at, at, 0});
      continue;
    }
    const float position = std::max(0.0f, center - 0.5f);
    const auto low = std::min(static_cast<int64_t>(position), from - 1);
    out.push_back({low, std::min(low + 1, from - 1), position - static_cast<float>(low)});
  }
  return out;
}

}  // namespace

Tensor resize_latents(const Tensor& latents, int64_t height, int64_t width, LatentFilter filter) {
  const int64_t planes = latents.dim(0) * latents.dim(1), h = latents.dim(2), w = latents.dim(3);
  Tensor out = Tensor::empty(DType::f32, {latents.dim(0), latents.dim(1), height, width});
  const std::vector<Tap> rows = taps_of(h, height, filter), columns = taps_of(w, width, filter);
  float* to = out.data<float>();
  for (int64_t p = 0; p < planes; ++p) {
    const float* plane = latents.data<float>() + p * h * w;
    for (const Tap& row : rows)
      for (const Tap& column : columns) {
        const float *above = plane + row.low * w, *below = plane + row.high * w;
        const float u = column.weight, v = row.weight;
        const float top = (1 - u) * above[column.low] + u * above[column.high];
        const float bottom = (1 - u) * below[column.low] + u * below[column.high];
        *to++ = (1 - v) * top + v * bottom;
      }
  }
  return out;
}

}  // namespace easel::pipelines
