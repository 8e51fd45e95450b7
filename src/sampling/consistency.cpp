// Samplers of networks distilled to jump to the clean sample. Both visit a part of the timesteps that the network was
// distilled on: k − 1, 2k − 1, … with k = T / original_inference_steps.
// LCM: x' = √ᾱ'·D + √(1−ᾱ')·noise, D = c_out·x0 + c_skip·x. TCD: x' = √(ᾱ'/ᾱ_s)·x_s + √(1 − ᾱ'/ᾱ_s)·noise with
// x_s = √ᾱ_s·x0 + √(1−ᾱ_s)·ε at the timestep s = ⌊(1 − η)·t'⌋.
#include <cmath>

#include "base/fail.h"
#include "sampling/prediction.h"
#include "sampling/samplers.h"
#include "sampling/schedule.h"

namespace easel::sampling {

namespace {

// Both classes have other defaults than the rest.
SchedulerConfig with_defaults(SchedulerConfig config) {
  config.set_default("beta_schedule", "scaled_linear");
  config.set_default("beta_start", 0.00085);
  config.set_default("beta_end", 0.012);
  config.set_default("clip_sample", false);
  return config;
}

class Consistency : public Scheduler {
 protected:
  Consistency(const SchedulerConfig& config, const SamplerOptions& options)
      : schedule_(make_noise_schedule(config, ScheduleKind::plain, false)), prediction_(prediction_of(config, true)) {
    const int64_t original = config.integer("original_inference_steps", 50, 1, schedule_.size());
    if (options.steps > original)
      fail(ErrorCode::invalid_argument,
           "--steps: expected at most original_inference_steps {} of scheduler_config.json, found {}", original,
           options.steps);
    const int64_t stride = schedule_.size() / original;
    for (int i = 0; i < options.steps; ++i) {
      const auto index = static_cast<int64_t>(std::floor(i * (static_cast<double>(original) / options.steps)));
      timesteps_.push_back(static_cast<double>((original - index) * stride - 1));
    }
    check_not_pure_noise(schedule_.alpha_bar(at(0)), prediction_ == Prediction::epsilon);
  }

  int64_t at(int i) const { return static_cast<int64_t>(timesteps_[static_cast<size_t>(i)]); }
  bool is_last(int i) const { return static_cast<size_t>(i) + 1 == timesteps_.size(); }
  std::pair<float, float> noise_mix(int i) const override { return schedule_.noise_mix(at(i)); }

  NoiseSchedule schedule_;
  Prediction prediction_;
  std::vector<float> original_, noise_;  // of the step under way
};

class Lcm final : public Consistency {
 public:
  Lcm(const SchedulerConfig& config, const SamplerOptions& options)
      : Consistency(config, options),
        clip_(SampleClip::from(config)),
        scaling_(config.number("timestep_scaling", 10.0, 0, 1e6)) {}

 private:
  void update(const StepInput& in, std::span<float> sample) override {
    constexpr double sigma_data = 0.5;
    const auto [a, b] = schedule_.noise_mix(at(in.i));
    original_.resize(sample.size());
    predict_original(prediction_, a, b, sample, in.output, original_);
    clip_.apply(original_, in.shape);
    const double t = static_cast<double>(at(in.i)) * scaling_, both = t * t + sigma_data * sigma_data;
    const auto skip = static_cast<float>(sigma_data * sigma_data / both), out = static_cast<float>(t / std::sqrt(both));
    for (size_t j = 0; j < sample.size(); ++j) sample[j] = out * original_[j] + skip * sample[j];
    if (is_last(in.i)) return;
    noise_.resize(sample.size());
    in.noise.randn(noise_);
    const auto [signal, level] = schedule_.noise_mix(at(in.i + 1));
    for (size_t j = 0; j < sample.size(); ++j) sample[j] = signal * sample[j] + level * noise_[j];
  }

  SampleClip clip_;
  double scaling_;
};

class Tcd final : public Consistency {
 public:
  Tcd(const SchedulerConfig& config, const SamplerOptions& options)
      : Consistency(config, options), eta_(options.eta.value_or(0.3)) {}

 private:
  void update(const StepInput& in, std::span<float> sample) override {
    const auto [a, b] = schedule_.noise_mix(at(in.i));
    original_.resize(sample.size());
    predict_original(prediction_, a, b, sample, in.output, original_);
    const int64_t next = is_last(in.i) ? 0 : at(in.i + 1);
    const auto between = static_cast<int64_t>(std::floor((1 - eta_) * static_cast<double>(next)));
    const float alpha_s = schedule_.alpha_bar(between), alpha_next = schedule_.alpha_bar(next);
    const float signal = std::sqrt(alpha_s), level = std::sqrt(1.0f - alpha_s);
    for (size_t j = 0; j < sample.size(); ++j) {
      const float eps = prediction_ == Prediction::epsilon  ? in.output[j]
                        : prediction_ == Prediction::sample ? (sample[j] - a * original_[j]) / b
                                                            : a * in.output[j] + b * sample[j];
      sample[j] = signal * original_[j] + level * eps;
    }
    if (eta_ <= 0 || is_last(in.i)) return;
    noise_.resize(sample.size());
    in.noise.randn(noise_);
    const float kept = std::sqrt(alpha_next / alpha_s), fresh = std::sqrt(1.0f - alpha_next / alpha_s);
    for (size_t j = 0; j < sample.size(); ++j) sample[j] = kept * sample[j] + fresh * noise_[j];
  }

  double eta_;
};

}  // namespace

std::unique_ptr<Scheduler> make_lcm(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<Lcm>(with_defaults(config), options);
}

std::unique_ptr<Scheduler> make_tcd(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<Tcd>(with_defaults(config), options);
}

}  // namespace easel::sampling
