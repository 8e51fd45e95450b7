#include "sampling/sampler.h"

#include <algorithm>

#include "base/fail.h"

namespace easel::sampling {

void Sampler::check_iteration(int i) const {
  if (i < 0 || static_cast<size_t>(i) >= timesteps_.size())
    fail(ErrorCode::invalid_argument, "sampler: iteration {}: expected 0 to {}", i, timesteps_.size() - 1);
}

void Sampler::scale_model_input(int i, std::span<const float> sample, std::span<float> out) const {
  check_iteration(i);
  if (sample.size() != out.size())
    fail(ErrorCode::shape_mismatch, "sampler: model input: expected {} values, found {}", sample.size(), out.size());
  const float divisor = input_divisor(i);
  for (size_t j = 0; j < sample.size(); ++j) out[j] = divisor == 1.0f ? sample[j] : sample[j] / divisor;
}

void Sampler::step(int i, std::span<const float> model_output, std::span<float> sample, const Shape& shape,
                   NoiseSource& noise) {
  check_iteration(i);
  if (next_ >= 0 && i != next_)
    fail(ErrorCode::invalid_argument, "sampler: iteration {}: expected {}, the one after the last", i, next_);
  if (shape.rank() < 2 || static_cast<size_t>(shape.numel()) != sample.size())
    fail(ErrorCode::shape_mismatch, "sampler: sample: expected [N, C, ...] of {} values, found shape {}", sample.size(),
         shape.str());
  std::vector<float> mean, variance;
  if (model_output.size() == 2 * sample.size() && !sample.empty()) {
    // [N, 2C, ...]: the first C channels of each item are the mean prediction, the others the variance
    const size_t item = sample.size() / static_cast<size_t>(shape[0]);
    mean.reserve(sample.size());
    variance.reserve(sample.size());
    for (auto from = model_output.begin(); from != model_output.end(); from += static_cast<ptrdiff_t>(2 * item)) {
      const auto middle = from + static_cast<ptrdiff_t>(item);
      mean.insert(mean.end(), from, middle);
      variance.insert(variance.end(), middle, middle + static_cast<ptrdiff_t>(item));
    }
    model_output = mean;
  } else if (model_output.size() != sample.size()) {
    fail(ErrorCode::shape_mismatch, "sampler: model output: expected {} values as the sample has, found {}",
         sample.size(), model_output.size());
  }
  update({i, model_output, variance, shape, noise}, sample);
  next_ = i + 1;
}

void Sampler::add_noise(int i, std::span<const float> original, std::span<const float> noise,
                        std::span<float> out) const {
  check_iteration(i);
  if (original.size() != out.size() || noise.size() != out.size())
    fail(ErrorCode::shape_mismatch, "sampler: noising: expected {} values, found {} and {} of noise", out.size(),
         original.size(), noise.size());
  const auto [signal, level] = noise_mix(i);
  for (size_t j = 0; j < out.size(); ++j) out[j] = signal * original[j] + level * noise[j];
}

}  // namespace easel::sampling
