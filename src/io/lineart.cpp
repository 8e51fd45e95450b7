#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "io/edges.h"

namespace easel::io {

namespace {

/// Weights of a Gaussian that reaches four deviations to either side, as OpenCV cuts it for floating-point pictures.
std::vector<double> gaussian(double sigma) {
  const int64_t size = static_cast<int64_t>(std::nearbyint(sigma * 8 + 1)) | 1;
  std::vector<double> weights(static_cast<size_t>(size));
  const int64_t centre = size / 2;
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    const auto x = static_cast<double>(i - centre);
    sum += weights[static_cast<size_t>(i)] = std::exp(-x * x / (2 * sigma * sigma));
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

/// The place inside 0 … size − 1 that an outside one mirrors; the edge itself is not repeated.
int64_t mirrored(int64_t at, int64_t size) {
  if (size == 1) return 0;
  const int64_t period = 2 * (size - 1);
  at = ((at % period) + period) % period;
  return at < size ? at : period - at;
}

/// Along rows, or along columns.
std::vector<float> blurred(const std::vector<float>& x, const std::vector<double>& weights, int64_t height,
                           int64_t width, int64_t channels, bool rows) {
  std::vector<float> out(x.size());
  const auto reach = static_cast<int64_t>(weights.size() / 2);
  const int64_t size = rows ? width : height, step = rows ? channels : width * channels;
  std::vector<int64_t> places;  // of the positions −reach … size + reach − 1
  for (int64_t at = -reach; at < size + reach; ++at) places.push_back(mirrored(at, size) * step);
  for (int64_t v = 0; v < height; ++v)
    for (int64_t u = 0; u < width; ++u) {
      const float* line = x.data() + (rows ? v * width : u) * channels;
      const int64_t* place = places.data() + (rows ? u : v);
      for (int64_t c = 0; c < channels; ++c) {
        double sum = 0;
        for (size_t k = 0; k < weights.size(); ++k) sum += weights[k] * static_cast<double>(line[place[k] + c]);
        out[static_cast<size_t>((v * width + u) * channels + c)] = static_cast<float>(sum);
      }
    }
  return out;
}

/// numpy.median.
double median(std::vector<float> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (static_cast<double>(*middle) + static_cast<double>(*std::max_element(values.begin(), middle))) / 2;
}

}  // namespace

Image lineart(const Image& picture, const LineartOptions& options) {
  if (picture.channels != 3 || picture.width < 1 || picture.height < 1)
    fail(ErrorCode::invalid_argument, "lineart: expected a picture of 3 channels, found {}×{}×{}", picture.width,
         picture.height, picture.channels);
  if (!(options.sigma >= 0.1 && options.sigma <= 100))
    fail(ErrorCode::invalid_argument, "lineart: expected a sigma from 0.1 to 100, found {}", options.sigma);
  const std::vector<float> x(picture.pixels.begin(), picture.pixels.end());
  const std::vector<double> weights = gaussian(options.sigma);
  const std::vector<float> smooth = blurred(blurred(x, weights, picture.height, picture.width, 3, true), weights,
                                            picture.height, picture.width, 3, false);

  const size_t count = x.size() / 3;
  std::vector<float> intensity(count), strokes;
  for (size_t i = 0; i < count; ++i) {
    const auto darker = [&](size_t c) { return smooth[3 * i + c] - x[3 * i + c]; };
    intensity[i] = std::clamp(std::min({darker(0), darker(1), darker(2)}), 0.0f, 255.0f);
    if (intensity[i] > options.intensity_threshold) strokes.push_back(intensity[i]);
  }
  const double scale = std::max(16.0, strokes.empty() ? 0.0 : median(std::move(strokes)));
  Image out{picture.width, picture.height, 3, std::vector<uint8_t>(x.size())};
  for (size_t i = 0; i < count; ++i)
    std::fill_n(&out.pixels[3 * i], 3,
                static_cast<uint8_t>(std::clamp(static_cast<double>(intensity[i]) / scale * 127, 0.0, 255.0)));
  return out;
}

}  // namespace easel::io
