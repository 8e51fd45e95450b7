// x_{t−δ} = √ᾱ' · x0 + √(1 − ᾱ' − σ²) · ε + σ · noise, σ² = η² · (1−ᾱ')/(1−ᾱ) · (1 − ᾱ/ᾱ').
#include <cmath>

#include "sampling/prediction.h"
#include "sampling/samplers.h"
#include "sampling/schedule.h"

namespace easel::sampling {

namespace {

class Ddim final : public Scheduler {
 public:
  Ddim(const SchedulerConfig& config, const SamplerOptions& options)
      : schedule_(make_noise_schedule(config, ScheduleKind::plain, false)),
        prediction_(prediction_of(config, true)),
        clip_(SampleClip::from(config)),
        eta_(static_cast<float>(options.eta.value_or(0))),
        stride_(schedule_.size() / options.steps) {
    check_steps(options, schedule_.size());
    final_alpha_bar_ = config.boolean("set_alpha_to_one", true) ? 1.0f : schedule_.alphas_cumprod.front();
    timesteps_ =
        spaced_timesteps(spacing_of(config, "leading"), schedule_.size(), options.steps, steps_offset_of(config));
    for (const double t : timesteps_)
      check_not_pure_noise(schedule_.alpha_bar(static_cast<int64_t>(t)),
                           prediction_ == Prediction::epsilon && !clip_.bounds_infinity());
  }

 private:
  void update(const StepInput& in, std::span<float> sample) override {
    const auto t = static_cast<int64_t>(timesteps_[static_cast<size_t>(in.i)]);
    const int64_t previous = t - stride_;
    const float alpha = schedule_.alpha_bar(t);
    const float alpha_previous = previous >= 0 ? schedule_.alpha_bar(previous) : final_alpha_bar_;
    const float beta = 1.0f - alpha;
    const float a = std::sqrt(alpha), b = std::sqrt(beta);

    original_.resize(sample.size());
    predict_original(prediction_, a, b, sample, in.output, original_);
    // The direction is taken from the prediction before clipping, as in the reference.
    epsilon_.assign(in.output.begin(), in.output.end());
    if (prediction_ == Prediction::sample) {
      for (size_t j = 0; j < sample.size(); ++j) epsilon_[j] = (sample[j] - a * original_[j]) / b;
    } else if (prediction_ == Prediction::v) {
      for (size_t j = 0; j < sample.size(); ++j) epsilon_[j] = a * in.output[j] + b * sample[j];
    }
    clip_.apply(original_, in.shape);

    const float variance = ((1.0f - alpha_previous) / beta) * (1.0f - alpha / alpha_previous);
    const float deviation = eta_ * std::sqrt(variance);
    const float a_previous = std::sqrt(alpha_previous);
    const float direction = std::sqrt(1.0f - alpha_previous - deviation * deviation);
    for (size_t j = 0; j < sample.size(); ++j) sample[j] = a_previous * original_[j] + direction * epsilon_[j];
    if (eta_ > 0) {
      noise_.resize(sample.size());
      in.noise.randn(noise_);
      for (size_t j = 0; j < sample.size(); ++j) sample[j] = sample[j] + deviation * noise_[j];
    }
  }

  std::pair<float, float> noise_mix(int i) const override {
    return schedule_.noise_mix(static_cast<int64_t>(timesteps_[static_cast<size_t>(i)]));
  }

  NoiseSchedule schedule_;
  Prediction prediction_;
  SampleClip clip_;
  float eta_;
  int64_t stride_;
  float final_alpha_bar_ = 1.0f;
  std::vector<float> original_, epsilon_, noise_;  // of the step under way
};

}  // namespace

std::unique_ptr<Scheduler> make_ddim(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<Ddim>(config, options);
}

}  // namespace easel::sampling
