// x' = x + (x − x0)/σ · (σ' − σ), on samples x = x0 + σ · noise.
#include <cmath>

#include "sampling/prediction.h"
#include "sampling/samplers.h"
#include "sampling/sigmas.h"

namespace easel::sampling {

namespace {

class Euler final : public Scheduler {
 public:
  Euler(const SchedulerConfig& config, const SamplerOptions& options) {
    const std::string type =
        config.choice("prediction_type", "epsilon", {"epsilon", "sample", "original_sample", "v_prediction"});
    prediction_ = type == "epsilon" ? Prediction::epsilon : type == "v_prediction" ? Prediction::v : Prediction::sample;
    SigmaLevels levels = sigma_levels(config, options.steps);
    timesteps_ = std::move(levels.timesteps);
    sigmas_ = std::move(levels.sigmas);
    init_noise_sigma_ = levels.init_noise_sigma;
    const bool continuous = config.choice("timestep_type", "discrete", {"discrete", "continuous"}) == "continuous";
    if (continuous && prediction_ == Prediction::v)
      for (size_t i = 0; i < timesteps_.size(); ++i) timesteps_[i] = 0.25f * std::log(sigmas_[i]);
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

std::unique_ptr<Scheduler> make_euler(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<Euler>(config, options);
}

}  // namespace easel::sampling
