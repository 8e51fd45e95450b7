#include "sampling/prediction.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace easel::sampling {

Prediction prediction_of(const SchedulerConfig& config, bool sample_allowed) {
  const std::string name = sample_allowed
                               ? config.choice("prediction_type", "epsilon", {"epsilon", "sample", "v_prediction"})
                               : config.choice("prediction_type", "epsilon", {"epsilon", "v_prediction"});
  return name == "epsilon" ? Prediction::epsilon : name == "sample" ? Prediction::sample : Prediction::v;
}

Thresholding Thresholding::from(const SchedulerConfig& config) {
  Thresholding out;
  out.enabled = config.boolean("thresholding", false);
  out.ratio = static_cast<float>(config.number("dynamic_thresholding_ratio", 0.995, 0, 1));
  constexpr double smallest = std::numeric_limits<float>::min();
  out.max_value = static_cast<float>(config.number("sample_max_value", 1.0, smallest, 1e30));
  return out;
}

void Thresholding::apply(std::span<float> x, const Shape& shape) const {
  const auto items = static_cast<size_t>(shape[0]);
  const size_t size = items ? x.size() / items : 0;
  if (size == 0) return;
  std::vector<float>& magnitudes = magnitudes_;
  magnitudes.resize(size);
  for (size_t n = 0; n < items; ++n) {
    const std::span<float> item = x.subspan(n * size, size);
    std::transform(item.begin(), item.end(), magnitudes.begin(), [](float v) { return std::fabs(v); });
    const bool any_nan = std::any_of(magnitudes.begin(), magnitudes.end(), [](float v) { return std::isnan(v); });
    float s = std::numeric_limits<float>::quiet_NaN();
    if (!any_nan) {
      const float rank = ratio * static_cast<float>(size - 1);
      const size_t below = std::min(static_cast<size_t>(rank), size - 1);
      const size_t above = std::min(static_cast<size_t>(std::ceil(rank)), size - 1);
      const float weight = rank - static_cast<float>(below);
      const auto middle = magnitudes.begin() + static_cast<ptrdiff_t>(below);
      std::nth_element(magnitudes.begin(), middle, magnitudes.end());
      const float low = *middle;
      const float high = above == below ? low : *std::min_element(middle + 1, magnitudes.end());
      s = weight < 0.5f ? std::fma(weight, high - low, low) : high - (high - low) * (1.0f - weight);
      s = std::min(std::max(s, 1.0f), max_value);
    }
    for (float& value : item) value = std::min(std::max(value, -s), s) / s;
  }
}

SampleClip SampleClip::from(const SchedulerConfig& config) {
  SampleClip out;
  out.thresholding = Thresholding::from(config);
  out.clip = config.boolean("clip_sample", true);
  out.range = static_cast<float>(config.number("clip_sample_range", 1.0, 0, 1e30));
  return out;
}

void SampleClip::apply(std::span<float> x, const Shape& shape) const {
  if (thresholding.enabled) {
    thresholding.apply(x, shape);
  } else if (clip) {
    for (float& value : x) value = std::min(std::max(value, -range), range);
  }
}

void predict_original(Prediction prediction, float a, float b, std::span<const float> sample,
                      std::span<const float> output, std::span<float> original) {
  switch (prediction) {
    case Prediction::epsilon:
      for (size_t j = 0; j < sample.size(); ++j) original[j] = (sample[j] - b * output[j]) / a;
      break;
    case Prediction::sample: std::copy(output.begin(), output.end(), original.begin()); break;
    case Prediction::v:
      for (size_t j = 0; j < sample.size(); ++j) original[j] = a * sample[j] - b * output[j];
      break;
    case Prediction::flow:
      for (size_t j = 0; j < sample.size(); ++j) original[j] = sample[j] - b * output[j];
      break;
  }
}

}  // namespace easel::sampling
