#include "sampling/model_sampling.h"

#include <algorithm>
#include <cmath>

#include "sampling/schedule.h"
#include "sampling/sigmas.h"

namespace easel::sampling {

namespace {

Prediction read_prediction(const SchedulerConfig& config) {
  const std::string type = config.choice("prediction_type", "epsilon",
                                         {"epsilon", "sample", "original_sample", "v_prediction", "flow_prediction"});
  return type == "epsilon"           ? Prediction::epsilon
         : type == "v_prediction"    ? Prediction::v
         : type == "flow_prediction" ? Prediction::flow
                                     : Prediction::sample;
}

std::vector<float> flow_sigmas(const SchedulerConfig& config) {
  const int64_t count = config.integer("num_train_timesteps", 1000, 2, 100000);
  const double shift = config.number("shift", 1.0, 1e-3, 1e3);
  std::vector<float> out(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const double u = static_cast<double>(i + 1) / static_cast<double>(count);
    out[static_cast<size_t>(i)] = static_cast<float>(shift * u / (1 + (shift - 1) * u));
  }
  return out;
}

}  // namespace

ModelSampling::ModelSampling(const SchedulerConfig& config, TimestepRule rule)
    : prediction_(read_prediction(config)), rule_(rule) {
  sigmas_ = is_flow() ? flow_sigmas(config) : make_noise_schedule(config, ScheduleKind::plain, true).sigmas();
  log_sigmas_ = log_f32(sigmas_);
  if (rule == TimestepRule::nearest)  // correctly rounded, not numpy's approximation
    std::transform(sigmas_.begin(), sigmas_.end(), log_sigmas_.begin(), [](float s) { return std::log(s); });
}

double ModelSampling::timestep(double sigma) const {
  // Flow networks see σ itself, in units of training steps, however the sigmas were shifted.
  if (is_flow()) return sigma * static_cast<double>(sigmas_.size());
  if (rule_ == TimestepRule::interpolated) return sigma_to_timestep(sigma, log_sigmas_);
  // In float32, as where the rule comes from: a level half way between two has a neighbour to fall to.
  const float log_sigma = std::log(static_cast<float>(std::max(sigma, 1e-10)));
  const auto above = std::lower_bound(log_sigmas_.begin(), log_sigmas_.end(), log_sigma);
  if (above == log_sigmas_.begin()) return 0;
  if (above == log_sigmas_.end()) return static_cast<double>(log_sigmas_.size() - 1);
  const bool lower = log_sigma - *(above - 1) <= *above - log_sigma;
  return static_cast<double>(above - log_sigmas_.begin()) - (lower ? 1 : 0);
}

double ModelSampling::sigma(double timestep) const {
  const auto last = static_cast<double>(sigmas_.size() - 1);
  const double t = std::clamp(timestep, 0.0, last);
  const auto low = static_cast<size_t>(t);
  const double w = t - static_cast<double>(low);
  if (w == 0) return sigmas_[low];
  return std::exp((1 - w) * log_sigmas_[low] + w * log_sigmas_[low + 1]);
}

double ModelSampling::sigma_at(double fraction) const {
  return sigma((1 - fraction) * static_cast<double>(sigmas_.size() - 1));
}

void ModelSampling::scale_input(double sigma, std::span<const float> x, std::span<float> out) const {
  if (is_flow()) {
    std::copy(x.begin(), x.end(), out.begin());
    return;
  }
  const auto divisor = static_cast<float>(std::sqrt(sigma * sigma + 1));
  for (size_t j = 0; j < x.size(); ++j) out[j] = x[j] / divisor;
}

void ModelSampling::to_denoised(double sigma, std::span<const float> x, std::span<float> output) const {
  const auto s = static_cast<float>(sigma);
  if (is_flow()) {
    for (size_t j = 0; j < x.size(); ++j) output[j] = x[j] - s * output[j];
    return;
  }
  for (size_t j = 0; j < x.size(); ++j) output[j] = euler_original(prediction_, s, x[j], output[j]);
  if (clip_)
    for (float& value : output) value = std::clamp(value, -*clip_, *clip_);
}

double ModelSampling::noise_factor(double sigma) const {
  const bool from_nothing = !is_flow() && sigma >= sigma_max() * (1 - 1e-5);
  return from_nothing ? std::sqrt(sigma * sigma + 1) : sigma;
}

}  // namespace easel::sampling
