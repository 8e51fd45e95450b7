#include "sampling/multistep.h"

#include <cmath>

#include "base/fail.h"
#include "sampling/samplers.h"
#include "sampling/sigmas.h"

namespace easel::sampling {

namespace {

// Timesteps whose λ lies below lambda_min_clipped are left out (needed for squaredcos_cap_v2).
int64_t timesteps_left(const SchedulerConfig& config, const NoiseSchedule& schedule) {
  const auto clip = static_cast<float>(config.number("lambda_min_clipped", -HUGE_VAL, -HUGE_VAL, HUGE_VAL));
  int64_t last = schedule.size();
  while (last > 0) {
    const float a = schedule.alphas_cumprod[static_cast<size_t>(last - 1)];
    if (std::log(std::sqrt(a)) - std::log(std::sqrt(1.0f - a)) >= clip) break;
    --last;
  }
  if (last < 1)
    fail(ErrorCode::io, "scheduler_config.json: lambda_min_clipped: expected to leave a timestep, found {}", clip);
  return last;
}

std::vector<double> base_timesteps(const SchedulerConfig& config, int64_t last, int64_t trained, int steps,
                                   const MultistepRules& rules) {
  const std::string spacing = rules.spacing ? spacing_of(config, "linspace") : "linspace";
  const int64_t offset = rules.spacing ? steps_offset_of(config) : 0;
  std::vector<double> out;
  if (spacing == "linspace") {
    out = linspace(0, static_cast<double>(last - 1), steps + 1);
    std::reverse(out.begin(), out.end());
    out.pop_back();
    for (double& t : out) t = std::nearbyint(t);
  } else if (spacing == "leading") {
    const int64_t ratio = last / (steps + 1);
    for (int64_t i = steps; i >= 1; --i) out.push_back(static_cast<double>(i * ratio + offset));
  } else {
    out = arange_down(static_cast<double>(last), static_cast<double>(trained) / steps);
    for (double& t : out) t = std::nearbyint(t) - 1;
    while (out.size() > 1 && out.back() < 0) out.pop_back();
  }
  return out;
}

}  // namespace

Level Level::preserving(float s) {
  Level out;
  out.alpha = 1.0f / std::sqrt(s * s + 1.0f);
  out.sigma = s * out.alpha;
  out.lambda = std::log(out.alpha) - std::log(out.sigma);
  return out;
}

Level Level::exploding(float s) { return {1.0f, s, -std::log(s)}; }

MultistepLevels multistep_levels(const SchedulerConfig& config, int steps, const MultistepRules& rules) {
  if (config.boolean("use_flow_sigmas", false))
    fail(ErrorCode::unsupported, "scheduler_config.json: use_flow_sigmas: expected false, found true");
  const NoiseSchedule schedule = make_noise_schedule(config, rules.schedule, true);
  const int64_t last = rules.clipped ? timesteps_left(config, schedule) : schedule.size();
  MultistepLevels out;
  out.timesteps = base_timesteps(config, last, schedule.size(), steps, rules);
  const std::vector<float> all = schedule.sigmas();
  const SigmaSpacing spacing = sigma_spacing_of(config, rules.lu);
  std::vector<double> sigmas;
  double end = all.front();
  if (spacing == SigmaSpacing::normal) {
    for (const double t : out.timesteps) sigmas.push_back(interpolate(t, all));
  } else {
    const std::vector<float> log_all = log_f32(all);
    constexpr double largest = 1e6, smallest = 1e-6;
    double low = all.front(), high = all.back();
    if (spacing != SigmaSpacing::lu) {
      low = config.optional_number("sigma_min", smallest, largest).value_or(low);
      high = config.optional_number("sigma_max", smallest, largest).value_or(high);
    }
    sigmas = spaced_sigmas(spacing, {low, high}, steps);
    if (rules.last_repeated) end = sigmas.back();
    const bool cosine = config.choice("beta_schedule", "linear", {"linear", "scaled_linear", "squaredcos_cap_v2"}) ==
                        "squaredcos_cap_v2";
    const bool rounded =
        (spacing == SigmaSpacing::karras || spacing == SigmaSpacing::lu) && (rules.rounds_cosine || !cosine);
    out.timesteps.clear();
    for (const double sigma : sigmas) {
      const double t = sigma_to_timestep(sigma, log_all);
      out.timesteps.push_back(std::trunc(rounded ? std::nearbyint(t) : t));
    }
  }
  const bool zero = rules.final_sigmas && config.choice("final_sigmas_type", "zero", {"zero", "sigma_min"}) == "zero";
  out.sigmas = with_final_sigma(sigmas, zero ? "zero" : "sigma_min", static_cast<float>(end));
  return out;
}

MultistepScheduler::MultistepScheduler(const SchedulerConfig& config)
    : prediction_(prediction_of(config, true)), thresholding_(Thresholding::from(config)) {}

MultistepScheduler::MultistepScheduler(const SchedulerConfig& config, const SamplerOptions& options,
                                       const MultistepRules& rules)
    : MultistepScheduler(config) {
  MultistepLevels levels = multistep_levels(config, options.steps, rules);
  timesteps_ = std::move(levels.timesteps);
  sigmas_ = std::move(levels.sigmas);
}

void MultistepScheduler::clean_sample(const StepInput& in, std::span<const float> sample, std::vector<float>& out) {
  out.resize(sample.size());
  const Level at = level(in.i);
  predict_original(prediction_, at.alpha, at.sigma, sample, in.output, out);
  if (thresholding_.enabled) thresholding_.apply(out, in.shape);
}

void MultistepScheduler::noise_part(const StepInput& in, std::span<const float> sample, std::vector<float>& out) {
  out.resize(sample.size());
  const auto [a, s, lambda] = level(in.i);
  for (size_t j = 0; j < out.size(); ++j)
    out[j] = prediction_ == Prediction::epsilon  ? in.output[j]
             : prediction_ == Prediction::sample ? (sample[j] - a * in.output[j]) / s
                                                 : a * in.output[j] + s * sample[j];
  if (!thresholding_.enabled) return;
  clean_.resize(sample.size());
  for (size_t j = 0; j < out.size(); ++j) clean_[j] = (sample[j] - s * out[j]) / a;
  thresholding_.apply(clean_, in.shape);
  for (size_t j = 0; j < out.size(); ++j) out[j] = (sample[j] - a * clean_[j]) / s;
}

}  // namespace easel::sampling
