#include "sampling/sigmas.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/fail.h"
#include "sampling/schedule.h"

namespace easel::sampling {

SigmaSpacing sigma_spacing_of(const SchedulerConfig& config, bool lu) {
  const bool karras = config.boolean("use_karras_sigmas", false);
  const bool exponential = config.boolean("use_exponential_sigmas", false);
  const bool beta = config.boolean("use_beta_sigmas", false);
  if (karras + exponential + beta > 1)
    fail(
        ErrorCode::io,
        "scheduler_config.json: use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas: expected at most one to be "
        "true, found {}",
        karras + exponential + beta);
  if (karras) return SigmaSpacing::karras;
  if (lu && config.boolean("use_lu_lambdas", false)) return SigmaSpacing::lu;
  return exponential ? SigmaSpacing::exponential : beta ? SigmaSpacing::beta : SigmaSpacing::normal;
}

std::vector<double> karras_sigmas(SigmaRange range, int steps) {
  constexpr double rho = 7.0;
  const double low = std::pow(range.min, 1 / rho), high = std::pow(range.max, 1 / rho);
  std::vector<double> out = linspace(0, 1, steps);
  for (double& value : out) value = std::pow(high + value * (low - high), rho);
  return out;
}

std::vector<double> exponential_sigmas(SigmaRange range, int steps) {
  std::vector<double> out = linspace(std::log(range.max), std::log(range.min), steps);
  for (double& value : out) value = std::exp(value);
  return out;
}

std::vector<double> beta_sigmas(SigmaRange range, int steps) {
  std::vector<double> out = linspace(0, 1, steps);
  for (double& value : out) value = range.min + beta_quantile(1 - value, 0.6) * (range.max - range.min);
  return out;
}

std::vector<double> spaced_sigmas(SigmaSpacing spacing, SigmaRange range, int steps) {
  switch (spacing) {
    case SigmaSpacing::karras: return karras_sigmas(range, steps);
    case SigmaSpacing::exponential: return exponential_sigmas(range, steps);
    case SigmaSpacing::beta: return beta_sigmas(range, steps);
    default: break;
  }
  // The reference takes the logarithms in float32 and the ramp with ρ = 1.
  const double low = log_f32(static_cast<float>(range.min)), high = log_f32(static_cast<float>(range.max));
  std::vector<double> out = linspace(0, 1, steps);
  for (double& value : out) value = std::exp(high + value * (low - high));
  return out;
}

SigmaLevels sigma_levels(const SchedulerConfig& config, int steps) {
  SigmaLevels out;
  const NoiseSchedule schedule = make_noise_schedule(config, ScheduleKind::plain, true);
  const std::string spacing = spacing_of(config, "linspace");
  out.timesteps =
      spaced_timesteps_unrounded(spacing, schedule.size(), steps, config.integer("steps_offset", 0, 0, 1000000));
  for (double& t : out.timesteps) t = static_cast<float>(t);

  const std::vector<float> all = schedule.sigmas();
  const std::vector<float> log_all = log_f32(all);
  std::vector<double> sigmas;
  if (config.choice("interpolation_type", "linear", {"linear", "log_linear"}) == "linear") {
    for (const double t : out.timesteps) sigmas.push_back(interpolate(t, all));
  } else {
    for (const float s : linspace_f32(log_f32(all.back()), log_f32(all.front()), steps + 1))
      sigmas.push_back(std::exp(s));
  }

  const SigmaSpacing sigma_spacing = sigma_spacing_of(config, false);
  if (sigma_spacing != SigmaSpacing::normal) {
    constexpr double largest = 1e6, smallest = 1e-6;
    const double low = config.optional_number("sigma_min", smallest, largest).value_or(sigmas.back());
    const double high = config.optional_number("sigma_max", smallest, largest).value_or(sigmas.front());
    sigmas = spaced_sigmas(sigma_spacing, {low, high}, steps);
    out.timesteps.clear();
    for (const double sigma : sigmas) out.timesteps.push_back(static_cast<float>(sigma_to_timestep(sigma, log_all)));
  }
  const std::string final_type = config.choice("final_sigmas_type", "zero", {"zero", "sigma_min"});
  out.sigmas = with_final_sigma(sigmas, final_type, all.front());
  const float max = *std::max_element(out.sigmas.begin(), out.sigmas.end());
  out.init_noise_sigma = spacing == "leading" ? std::sqrt(max * max + 1.0f) : max;
  return out;
}

double sigma_to_timestep(double sigma, std::span<const float> log_sigmas) {
  const double log_sigma = std::log(std::max(sigma, 1e-10));
  size_t low = 0;
  for (size_t i = log_sigmas.size(); i-- > 0;)
    if (log_sigma - log_sigmas[i] >= 0) {
      low = i;
      break;
    }
  low = std::min(low, log_sigmas.size() - 2);
  const float a = log_sigmas[low], b = log_sigmas[low + 1];
  const double w = std::clamp((a - log_sigma) / static_cast<double>(a - b), 0.0, 1.0);
  return (1 - w) * static_cast<double>(low) + w * static_cast<double>(low + 1);
}

double interpolate(double x, std::span<const float> values) {
  const auto last = static_cast<double>(values.size() - 1);
  if (!(x > 0)) return values.front();
  if (x >= last) return values.back();
  const auto low = static_cast<size_t>(x);
  if (x == static_cast<double>(low)) return values[low];
  const double slope = static_cast<double>(values[low + 1]) - values[low];
  return slope * (x - static_cast<double>(low)) + values[low];
}

float log_f32(float x) {
  if (!(x > 0) || std::isinf(x)) return std::log(x);
  // x = m·2^e with m in [√½, √2)
  int e;
  float m = std::frexp(x, &e);
  if (m < 0.70710678118654752440f) {
    m += m;
    --e;
  }
  m -= 1.0f;
  float p = std::fma(2.589979117907922693523e-02f, m, 3.808837741388407920751e-01f);
  p = std::fma(p, m, 1.480000633576506585156e+00f);
  p = std::fma(p, m, 2.112677543073053063722e+00f);
  p = std::fma(p, m, 9.999999999999998702752e-01f);
  p = std::fma(p, m, 0.0f);
  float q = std::fma(5.875095403124574342950e-03f, m, 1.546476374983906719538e-01f);
  q = std::fma(q, m, 9.864942958519418960339e-01f);
  q = std::fma(q, m, 2.453006071784736363091e+00f);
  q = std::fma(q, m, 2.612677543073109236779e+00f);
  q = std::fma(q, m, 1.0f);
  return std::fma(static_cast<float>(e), 0.693147180559945309417232121458176568f, p / q);
}

std::vector<float> log_f32(std::span<const float> values) {
  std::vector<float> out(values.size());
  std::transform(values.begin(), values.end(), out.begin(), [](float value) { return log_f32(value); });
  return out;
}

double beta_quantile(double p, double a) {
  if (p <= 0) return 0;
  if (p >= 1) return 1;
  if (p == 0.5) return 0.5;  // exactly, where rounding to timesteps would see the difference
  if (p > 0.5) return 1 - beta_quantile(1 - p, a);
  // I_x(a, a) for x ≤ ½: x^a / (a·B(a,a)) · Σ_k (1 − a)_k / k! · a/(a + k) · x^k, alternating-free for a < 1.
  const double scale = std::exp(std::lgamma(2 * a) - 2 * std::lgamma(a));
  const auto cdf = [&](double x) {
    double term = 1, sum = 1 / a;
    for (int k = 1; k < 200 && term > 1e-18; ++k) {
      term *= (k - a) / k * x;
      sum += term / (a + k);
    }
    return scale * std::pow(x, a) * sum;
  };
  double low = 0, high = 0.5;
  for (int i = 0; i < 100 && high - low > 1e-17; ++i) {
    const double middle = low + (high - low) / 2;
    (cdf(middle) < p ? low : high) = middle;
  }
  return low + (high - low) / 2;
}

std::vector<float> with_final_sigma(const std::vector<double>& sigmas, const std::string& final_sigmas_type,
                                    float schedule_min) {
  std::vector<float> out;
  out.reserve(sigmas.size() + 1);
  for (const double sigma : sigmas) out.push_back(static_cast<float>(sigma));
  out.push_back(final_sigmas_type == "zero" ? 0.0f : schedule_min);
  return out;
}

}  // namespace easel::sampling
