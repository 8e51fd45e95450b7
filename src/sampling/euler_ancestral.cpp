// x' = x + (x − x0)/σ · (σ_down − σ) + σ_up · noise, σ_up² = σ'²·(σ² − σ'²)/σ², σ_down² = σ'² − σ_up².
#include <algorithm>
#include <cmath>

#include "sampling/prediction.h"
#include "sampling/samplers.h"
#include "sampling/schedule.h"
#include "sampling/sigmas.h"

namespace easel::sampling {

namespace {

class EulerAncestral final : public Scheduler {
 public:
  EulerAncestral(const SchedulerConfig& config, const SamplerOptions& options)
      : prediction_(prediction_of(config, false)) {
    const NoiseSchedule schedule = make_noise_schedule(config, ScheduleKind::plain, true);
    const std::string spacing = spacing_of(config, "linspace");
    timesteps_ = spaced_timesteps_unrounded(spacing, schedule.size(), options.steps, steps_offset_of(config));
    for (double& t : timesteps_) t = static_cast<float>(t);
    const std::vector<float> all = schedule.sigmas();
    std::vector<double> sigmas;
    for (const double t : timesteps_) sigmas.push_back(interpolate(t, all));
    sigmas_ = with_final_sigma(sigmas, "zero", 0);
    const float max = *std::max_element(sigmas_.begin(), sigmas_.end());
    init_noise_sigma_ = spacing == "leading" ? std::sqrt(max * max + 1.0f) : max;
  }

 private:
  float input_divisor(int i) const override {
    const float sigma = sigmas_[static_cast<size_t>(i)];
    return std::sqrt(sigma * sigma + 1.0f);
  }

  void update(const StepInput& in, std::span<float> sample) override {
    const float from = sigmas_[static_cast<size_t>(in.i)], to = sigmas_[static_cast<size_t>(in.i) + 1];
    const float up = std::sqrt(to * to * (from * from - to * to) / (from * from));
    const float dt = std::sqrt(to * to - up * up) - from;
    noise_.resize(sample.size());
    in.noise.randn(noise_);  // also for the last step, where σ_up is 0: the generator moves on as the reference's does
    for (size_t j = 0; j < sample.size(); ++j) {
      const float original = euler_original(prediction_, from, sample[j], in.output[j]);
      const float moved = sample[j] + (sample[j] - original) / from * dt;
      sample[j] = moved + noise_[j] * up;
    }
  }

  std::pair<float, float> noise_mix(int i) const override { return {1.0f, sigmas_[static_cast<size_t>(i)]}; }

  Prediction prediction_;
  std::vector<float> sigmas_;  // one more than timesteps
  std::vector<float> noise_;
};

}  // namespace

std::unique_ptr<Scheduler> make_euler_ancestral(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<EulerAncestral>(config, options);
}

}  // namespace easel::sampling
