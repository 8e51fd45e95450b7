#include "sampling/scheduler.h"

#include <algorithm>

#include "base/fail.h"

namespace easel::sampling {

void Scheduler::check_iteration(int i) const {
  if (i < 0 || static_cast<size_t>(i) >= timesteps_.size())
    fail(ErrorCode::invalid_argument, "sampler: iteration {}: expected 0 to {}", i, timesteps_.size() - 1);
}

void Scheduler::scale_model_input(int i, std::span<const float> sample, std::span<float> out) const {
  check_iteration(i);
  if (sample.size() != out.size())
    fail(ErrorCode::shape_mismatch, "sampler: model input: expected {} values, found {}", sample.size(), out.size());
  const float divisor = input_divisor(i);
  for (size_t j = 0; j < sample.size(); ++j) out[j] = divisor == 1.0f ? sample[j] : sample[j] / divisor;
}

void Scheduler::step(int i, std::span<const float> model_output, std::span<float> sample, const Shape& shape,
                     NoiseSource& noise) {
  check_iteration(i);
  if (next_ >= 0 && i != next_)
    fail(ErrorCode::invalid_argument, "sampler: iteration {}: expected {}, the one after the last", i, next_);
  if (shape.rank() < 2 || static_cast<size_t>(shape.numel()) != sample.size())
    fail(ErrorCode::shape_mismatch, "sampler: sample: expected [N, C, ...] of {} values, found shape {}", sample.size(),
         shape.str());
  std::span<const float> variance;
  if (model_output.size() == 2 * sample.size() && !sample.empty()) {
    // [N, 2C, ...]: the first C channels of each item are the mean prediction, the others the variance
    const size_t item = sample.size() / static_cast<size_t>(shape[0]);
    mean_.clear();
    variance_.clear();
    mean_.reserve(sample.size());
    variance_.reserve(sample.size());
    for (auto from = model_output.begin(); from != model_output.end(); from += static_cast<ptrdiff_t>(2 * item)) {
      const auto middle = from + static_cast<ptrdiff_t>(item);
      mean_.insert(mean_.end(), from, middle);
      variance_.insert(variance_.end(), middle, middle + static_cast<ptrdiff_t>(item));
    }
    model_output = mean_;
    variance = variance_;
  } else if (model_output.size() != sample.size()) {
    fail(ErrorCode::shape_mismatch, "sampler: model output: expected {} values as the sample has, found {}",
         sample.size(), model_output.size());
  }
  update({i, model_output, variance, shape, noise}, sample);
  next_ = i + 1;
}

void Scheduler::add_noise(int i, std::span<const float> original, std::span<const float> noise,
                          std::span<float> out) const {
  check_iteration(i);
  if (original.size() != out.size() || noise.size() != out.size())
    fail(ErrorCode::shape_mismatch, "sampler: noising: expected {} values, found {} and {} of noise", out.size(),
         original.size(), noise.size());
  const auto [signal, level] = noise_mix(i);
  for (size_t j = 0; j < out.size(); ++j) out[j] = signal * original[j] + level * noise[j];
}

void Scheduler::set_iterations(int first, int last) {
  const int count = static_cast<int>(timesteps_.size());
  if (first < 0 || first >= count)
    fail(ErrorCode::invalid_argument, "--start-step: expected 0 to {}, found {}", count - 1, first);
  if (last <= first)
    fail(ErrorCode::invalid_argument, "--end-step: expected more than --start-step {}, found {}", first, last);
  first_ = first;
  last_ = std::min(last, count);
}

void Scheduler::start(std::span<const float> original, std::span<float> noise) const {
  if (!original.empty()) {
    add_noise(first_, original, noise, noise);
    return;
  }
  const float factor = first_ == 0 ? static_cast<float>(init_noise_sigma_) : noise_mix(first_).second;
  for (float& value : noise) value *= factor;
}

void Scheduler::restore(const KeptPart* kept, int i, std::span<float> sample) const {
  if (!kept) return;
  if (static_cast<size_t>(i) >= timesteps_.size()) return kept->restore(1, 0, 0, sample);
  const auto [signal, level] = noise_mix(i);
  const double first = timesteps_[static_cast<size_t>(first_)];
  kept->restore(signal, level, first > 0 ? timesteps_[static_cast<size_t>(i)] / first : 0, sample);
}

void Scheduler::run(Model& model, std::span<float> sample, const Shape& shape, NoiseSource& noise,
                    const StepObserver& observer, const KeptPart* kept) {
  std::vector<float> input(sample.size()), output(sample.size());
  // At the first iteration everything is drawn anew but what a differential mask keeps longer.
  if (kept && kept->differential) restore(kept, first_, sample);
  for (int i = first_; i < last(); ++i) {
    scale_model_input(i, sample, input);
    model.predict({input, timesteps_[static_cast<size_t>(i)], i, output, {}});
    step(i, output, sample, shape, noise);
    restore(kept, i + 1, sample);
    if (observer) observer(i, sample);
  }
}

std::vector<NoiseLevel> Scheduler::levels() const {
  std::vector<NoiseLevel> out;
  for (int i = first_; i < last(); ++i) {
    const auto [signal, level] = noise_mix(i);
    out.push_back({timesteps_[static_cast<size_t>(i)], static_cast<double>(level) / static_cast<double>(signal)});
  }
  if (last() < static_cast<int>(timesteps_.size())) {
    const auto [signal, level] = noise_mix(last());
    out.push_back({std::nullopt, static_cast<double>(level) / static_cast<double>(signal)});
  } else {
    out.push_back({std::nullopt, 0.0});
  }
  return out;
}

}  // namespace easel::sampling
