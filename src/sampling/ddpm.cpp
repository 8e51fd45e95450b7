// x_{t'} = √ᾱ'·β_t/(1−ᾱ) · x0 + √α_t·(1−ᾱ')/(1−ᾱ) · x_t + σ_t · noise, α_t = ᾱ/ᾱ', β_t = 1 − α_t.
#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "sampling/prediction.h"
#include "sampling/samplers.h"
#include "sampling/schedule.h"

namespace easel::sampling {

namespace {

class Ddpm final : public Scheduler {
 public:
  Ddpm(const SchedulerConfig& config, const SamplerOptions& options)
      : schedule_(make_noise_schedule(config, ScheduleKind::ddpm, false)),
        prediction_(prediction_of(config, true)),
        clip_(SampleClip::from(config)),
        variance_type_(config.optional_choice("variance_type", {"fixed_small", "fixed_small_log", "fixed_large",
                                                                "fixed_large_log", "learned", "learned_range"})) {
    check_steps(options, schedule_.size());
    timesteps_ =
        spaced_timesteps(spacing_of(config, "leading"), schedule_.size(), options.steps, steps_offset_of(config));
    for (const double t : timesteps_)
      check_not_pure_noise(schedule_.alpha_bar(static_cast<int64_t>(t)),
                           prediction_ == Prediction::epsilon && !clip_.bounds_infinity());
  }

 private:
  bool learned() const { return variance_type_ == "learned" || variance_type_ == "learned_range"; }

  void update(const StepInput& in, std::span<float> sample) override {
    if (learned() == in.predicted_variance.empty())
      fail(ErrorCode::shape_mismatch,
           "sampler ddpm: variance_type {}: expected a model output of {} the sample's channels",
           variance_type_.empty() ? "fixed_small" : variance_type_, learned() ? "twice" : "exactly");
    const auto index = static_cast<size_t>(in.i);
    const auto t = static_cast<int64_t>(timesteps_[index]);
    const float alpha = schedule_.alpha_bar(t);
    const float alpha_previous =
        index + 1 < timesteps_.size() ? schedule_.alpha_bar(static_cast<int64_t>(timesteps_[index + 1])) : 1.0f;
    const float beta = 1.0f - alpha, beta_previous = 1.0f - alpha_previous;
    const float current_alpha = alpha / alpha_previous;
    const float current_beta = 1.0f - current_alpha;

    original_.resize(sample.size());
    predict_original(prediction_, std::sqrt(alpha), std::sqrt(beta), sample, in.output, original_);
    clip_.apply(original_, in.shape);

    const float original_factor = (std::sqrt(alpha_previous) * current_beta) / beta;
    const float sample_factor = std::sqrt(current_alpha) * beta_previous / beta;
    for (size_t j = 0; j < sample.size(); ++j) sample[j] = original_factor * original_[j] + sample_factor * sample[j];
    if (t == 0) return;

    noise_.resize(sample.size());
    const std::vector<float>& noise = noise_;
    in.noise.randn(noise_);
    const float small = std::max(beta_previous / beta * current_beta, 1e-20f);
    if (variance_type_ == "learned") {
      for (size_t j = 0; j < sample.size(); ++j) sample[j] = sample[j] + std::sqrt(in.predicted_variance[j]) * noise[j];
    } else if (variance_type_ == "learned_range") {
      const float low = std::log(small), high = std::log(current_beta);
      for (size_t j = 0; j < sample.size(); ++j) {
        const float share = (in.predicted_variance[j] + 1.0f) / 2.0f;
        const float log_variance = share * high + (1.0f - share) * low;
        sample[j] = sample[j] + std::exp(0.5f * log_variance) * noise[j];
      }
    } else {
      const float deviation = variance_type_ == "fixed_large"       ? std::sqrt(current_beta)
                              : variance_type_ == "fixed_large_log" ? std::exp(0.5f * std::log(current_beta))
                              : variance_type_ == "fixed_small_log" ? std::exp(0.5f * std::log(small))
                                                                    : std::sqrt(small);
      for (size_t j = 0; j < sample.size(); ++j) sample[j] = sample[j] + deviation * noise[j];
    }
  }

  std::pair<float, float> noise_mix(int i) const override {
    return schedule_.noise_mix(static_cast<int64_t>(timesteps_[static_cast<size_t>(i)]));
  }

  NoiseSchedule schedule_;
  Prediction prediction_;
  SampleClip clip_;
  std::string variance_type_;            // empty: fixed_small
  std::vector<float> original_, noise_;  // of the step under way
};

}  // namespace

std::unique_ptr<Scheduler> make_ddpm(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<Ddpm>(config, options);
}

}  // namespace easel::sampling
