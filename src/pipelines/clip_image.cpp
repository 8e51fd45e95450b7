#include "pipelines/clip_image.h"

#include <algorithm>

#include "base/fail.h"
#include "io/resample.h"

namespace easel::pipelines {

namespace {

constexpr float kMean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
constexpr float kDeviation[3] = {0.26862954f, 0.26130258f, 0.27577711f};

}  // namespace

Tensor clip_pixel_values(const io::Image& image, int64_t size) {
  const int64_t shorter = std::min(image.width, image.height), longer = std::max(image.width, image.height);
  if (shorter < 1 || image.channels != 3)
    fail(ErrorCode::invalid_argument, "image prompt: expected an RGB picture, found {}×{} with {} channels",
         image.width, image.height, image.channels);
  const auto side = [&](int64_t own) { return own == shorter ? size : size * longer / shorter; };
  const int64_t width = side(image.width), height = side(image.height);
  if (std::max(width, height) > io::kMaxImageSide)
    fail(ErrorCode::invalid_argument, "image prompt: expected a picture less long than {}×{}", image.width,
         image.height);
  const io::Image small = io::resize(image, width, height, io::Resample::bicubic);
  const int64_t top = (height - size) / 2, left = (width - size) / 2;
  Tensor out = Tensor::empty(DType::f32, {1, 3, size, size});
  float* to = out.data<float>();
  for (size_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < size; ++y) {
      const uint8_t* row = small.pixels.data() + ((top + y) * width + left) * 3 + static_cast<int64_t>(c);
      for (int64_t x = 0; x < size; ++x) {
        const auto unit = static_cast<float>(static_cast<double>(row[3 * x]) * (1 / 255.0));
        *to++ = (unit - kMean[c]) / kDeviation[c];
      }
    }
  return out;
}

}  // namespace easel::pipelines
