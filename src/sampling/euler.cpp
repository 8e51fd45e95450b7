// x' = x + (x − x0)/σ · (σ' − σ), on samples x = x0 + σ · noise.
#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "sampling/prediction.h"
#include "sampling/samplers.h"
#include "sampling/schedule.h"
#include "sampling/sigmas.h"

namespace easel::sampling {

namespace {

class Euler final : public Sampler {
 public:
  Euler(const SchedulerConfig& config, const SamplerOptions& options) {
    const NoiseSchedule schedule = make_noise_schedule(config, ScheduleKind::plain, true);
    const std::string type =
        config.choice("prediction_type", "epsilon", {"epsilon", "sample", "original_sample", "v_prediction"});
    prediction_ = type == "epsilon" ? Prediction::epsilon : type == "v_prediction" ? Prediction::v : Prediction::sample;
    const std::string spacing = spacing_of(config, "linspace");
    timesteps_ = spaced_timesteps_unrounded(spacing, schedule.size(), options.steps, steps_offset_of(config));
    for (double& t : timesteps_) t = static_cast<float>(t);

    const std::vector<float> all = schedule.sigmas();
    const std::vector<float> log_all = log_f32(all);
    std::vector<double> sigmas;
    if (config.choice("interpolation_type", "linear", {"linear", "log_linear"}) == "linear") {
      for (const double t : timesteps_) sigmas.push_back(interpolate(t, all));
    } else {
      for (const float s : linspace_f32(log_f32(all.back()), log_f32(all.front()), options.steps + 1))
        sigmas.push_back(std::exp(s));
    }

    const SigmaSpacing sigma_spacing = sigma_spacing_of(config, false);
    if (sigma_spacing != SigmaSpacing::normal) {
      constexpr double largest = 1e6, smallest = 1e-6;
      const double low = config.optional_number("sigma_min", smallest, largest).value_or(sigmas.back());
      const double high = config.optional_number("sigma_max", smallest, largest).value_or(sigmas.front());
      sigmas = spaced_sigmas(sigma_spacing, {low, high}, options.steps);
      timesteps_.clear();
      for (const double sigma : sigmas) timesteps_.push_back(static_cast<float>(sigma_to_timestep(sigma, log_all)));
    }
    const std::string final_type = config.choice("final_sigmas_type", "zero", {"zero", "sigma_min"});
    sigmas_ = with_final_sigma(sigmas, final_type, all.front());
    const bool continuous = config.choice("timestep_type", "discrete", {"discrete", "continuous"}) == "continuous";
    if (continuous && prediction_ == Prediction::v)
      for (size_t i = 0; i < timesteps_.size(); ++i) timesteps_[i] = 0.25f * std::log(sigmas_[i]);

    const float max = *std::max_element(sigmas_.begin(), sigmas_.end());
    init_noise_sigma_ = spacing == "leading" ? std::sqrt(max * max + 1.0f) : max;
  }

 private:
  float input_divisor(int i) const override {
    const float sigma = sigmas_[static_cast<size_t>(i)];
    return std::sqrt(sigma * sigma + 1.0f);
  }

  void update(const StepInput& in, std::span<float> sample) override {
    const float sigma = sigmas_[static_cast<size_t>(in.i)], dt = sigmas_[static_cast<size_t>(in.i) + 1] - sigma;
    for (size_t j = 0; j < sample.size(); ++j) {
      const float original = euler_original(prediction_, sigma, sample[j], in.output[j]);
      sample[j] = sample[j] + (sample[j] - original) / sigma * dt;
    }
  }

  std::pair<float, float> noise_mix(int i) const override { return {1.0f, sigmas_[static_cast<size_t>(i)]}; }

  Prediction prediction_ = Prediction::epsilon;
  std::vector<float> sigmas_;  // one more than timesteps
};

}  // namespace

std::unique_ptr<Sampler> make_euler(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<Euler>(config, options);
}

}  // namespace easel::sampling
