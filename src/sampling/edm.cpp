// x' = x + (x − x0)/σ · (σ' − σ) as in euler.cpp, on levels and networks of EDM.
#include "sampling/edm.h"

#include <algorithm>

#include "base/fail.h"
#include "sampling/samplers.h"
#include "sampling/schedule.h"

namespace easel::sampling {

namespace {

struct Range {
  double min, max;
  explicit Range(const SchedulerConfig& config)
      : min(config.number("sigma_min", 0.002, 1e-6, 1e6)), max(config.number("sigma_max", 80.0, 1e-6, 1e6)) {
    if (!(min < max))
      fail(ErrorCode::io, "scheduler_config.json: sigma_min {}: expected less than sigma_max {}", min, max);
  }
};

class EdmEuler final : public Scheduler {
 public:
  EdmEuler(const SchedulerConfig& config, const SamplerOptions& options)
      : edm_(EdmNetwork::from(config)), sigmas_(edm_sigmas(config, options.steps, true)) {
    for (int i = 0; i < options.steps; ++i) timesteps_.push_back(EdmNetwork::timestep(sigmas_[static_cast<size_t>(i)]));
    init_noise_sigma_ = edm_init_noise_sigma(config);
  }

 private:
  float input_divisor(int i) const override { return edm_.input_divisor(sigmas_[static_cast<size_t>(i)]); }

  void update(const StepInput& in, std::span<float> sample) override {
    const float sigma = sigmas_[static_cast<size_t>(in.i)], dt = sigmas_[static_cast<size_t>(in.i) + 1] - sigma;
    original_.resize(sample.size());
    edm_.clean_sample(sigma, sample, in.output, original_);
    for (size_t j = 0; j < sample.size(); ++j) sample[j] = sample[j] + (sample[j] - original_[j]) / sigma * dt;
  }

  std::pair<float, float> noise_mix(int i) const override { return {1.0f, sigmas_[static_cast<size_t>(i)]}; }

  EdmNetwork edm_;
  std::vector<float> sigmas_, original_;
};

}  // namespace

EdmNetwork EdmNetwork::from(const SchedulerConfig& config) {
  EdmNetwork out;
  out.sigma_data = static_cast<float>(config.number("sigma_data", 0.5, 1e-6, 1e6));
  out.sign = config.choice("prediction_type", "epsilon", {"epsilon", "v_prediction"}) == "epsilon" ? 1.0f : -1.0f;
  return out;
}

void EdmNetwork::clean_sample(float sigma, std::span<const float> x, std::span<const float> output,
                              std::span<float> original) const {
  const float data = sigma_data * sigma_data, both = sigma * sigma + data;
  const float skip = data / both, out = sign * sigma * sigma_data / std::sqrt(both);
  for (size_t j = 0; j < x.size(); ++j) original[j] = skip * x[j] + out * output[j];
}

std::vector<float> edm_sigmas(const SchedulerConfig& config, int steps, bool repeats) {
  const Range range(config);
  std::vector<float> out;
  if (config.choice("sigma_schedule", "karras", {"karras", "exponential"}) == "karras") {
    const double rho = config.number("rho", 7.0, 0.01, 100);
    const double low = std::pow(range.min, 1 / rho), high = std::pow(range.max, 1 / rho);
    if (repeats)
      for (const double u : linspace(0, 1, steps))
        out.push_back(static_cast<float>(std::pow(high + u * (low - high), rho)));
    else
      for (const float u : linspace_f32(0, 1, steps))
        out.push_back(std::pow(static_cast<float>(high) + u * static_cast<float>(low - high), static_cast<float>(rho)));
  } else {
    out = linspace_f32(std::log(range.min), std::log(range.max), steps);
    std::reverse(out.begin(), out.end());
    for (float& sigma : out) sigma = std::exp(sigma);
  }
  const bool zero = config.choice("final_sigmas_type", "zero", {"zero", "sigma_min"}) == "zero";
  out.push_back(zero ? 0.0f : repeats ? out.back() : static_cast<float>(range.min));
  return out;
}

double edm_init_noise_sigma(const SchedulerConfig& config) {
  const double max = Range(config).max;
  return std::sqrt(max * max + 1);
}

std::unique_ptr<Scheduler> make_edm_euler(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<EdmEuler>(config, options);
}

}  // namespace easel::sampling
