#include "sampling/schedule.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace easel::sampling {

namespace {

constexpr int64_t kMaxTrainTimesteps = 100000;

// β_i = min(1 − ᾱ((i+1)/T) / ᾱ(i/T), 0.999)
template <typename AlphaBar>
std::vector<float> betas_for_alpha_bar(int64_t count, AlphaBar&& alpha_bar) {
  std::vector<float> betas(static_cast<size_t>(count));
  const auto total = static_cast<double>(count);
  for (int64_t i = 0; i < count; ++i) {
    const double t1 = static_cast<double>(i) / total, t2 = static_cast<double>(i + 1) / total;
    betas[static_cast<size_t>(i)] = static_cast<float>(std::min(1 - alpha_bar(t2) / alpha_bar(t1), 0.999));
  }
  return betas;
}

double cosine_alpha_bar(double t) {
  const double c = std::cos((t + 0.008) / 1.008 * M_PI / 2);
  return c * c;
}

double laplace_alpha_bar(double t) {
  const double lambda = -0.5 * std::copysign(1.0, 0.5 - t) * std::log(1 - 2 * std::fabs(0.5 - t) + 1e-6);
  const double snr = std::exp(lambda);
  return std::sqrt(snr / (1 + snr));
}

std::vector<float> cumulative_alphas(const std::vector<float>& betas) {
  std::vector<float> out(betas.size());
  double product = 1;
  for (size_t i = 0; i < betas.size(); ++i) {
    product *= static_cast<double>(1.0f - betas[i]);
    out[i] = static_cast<float>(product);
  }
  return out;
}

std::vector<float> rescale_zero_terminal_snr(const std::vector<float>& betas) {
  std::vector<float> root = cumulative_alphas(betas);
  for (float& a : root) a = std::sqrt(a);
  const float first = root.front(), last = root.back();
  const float scale = first / (first - last);
  for (float& a : root) {
    a = (a - last) * scale;
    a = a * a;
  }
  std::vector<float> out(betas.size());
  out[0] = 1.0f - root[0];
  for (size_t i = 1; i < out.size(); ++i) out[i] = 1.0f - root[i] / root[i - 1];
  return out;
}

std::vector<float> make_betas(const SchedulerConfig& config, ScheduleKind kind, int64_t count) {
  std::vector<float> betas = config.floats("trained_betas", kMaxTrainTimesteps);
  if (!betas.empty()) {
    if (static_cast<int64_t>(betas.size()) < count)
      fail(ErrorCode::io, "scheduler_config.json: trained_betas: expected num_train_timesteps = {} values, found {}",
           count, betas.size());
    for (size_t i = 0; i < betas.size(); ++i)
      if (!(betas[i] >= 0 && betas[i] <= 1))
        fail(ErrorCode::io, "scheduler_config.json: trained_betas[{}]: expected a number from 0 to 1, found {}", i,
             betas[i]);
    return betas;
  }
  const double start = config.number("beta_start", 0.0001, 0, 1), end = config.number("beta_end", 0.02, 0, 1);
  const std::string name =
      kind == ScheduleKind::ddpm
          ? config.choice("beta_schedule", "linear",
                          {"linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"})
          : config.choice("beta_schedule", "linear", {"linear", "scaled_linear", "squaredcos_cap_v2"});
  if (name == "linear") return linspace_f32(start, end, count);
  if (name == "squaredcos_cap_v2") return betas_for_alpha_bar(count, cosine_alpha_bar);
  if (name == "laplace") return betas_for_alpha_bar(count, laplace_alpha_bar);
  if (name == "scaled_linear") {
    betas = linspace_f32(std::pow(start, 0.5), std::pow(end, 0.5), count);
    for (float& beta : betas) beta = beta * beta;
    return betas;
  }
  betas = linspace_f32(-6, 6, count);
  for (float& beta : betas)
    beta = (1.0f / (1.0f + std::exp(-beta))) * static_cast<float>(end - start) + static_cast<float>(start);
  return betas;
}

std::vector<double> spaced(const std::string& spacing, int64_t num_train, int steps, int64_t offset, bool round) {
  std::vector<double> out;
  if (spacing == "linspace") {
    out = linspace(0, static_cast<double>(num_train - 1), steps);
    std::reverse(out.begin(), out.end());
    if (round)
      for (double& t : out) t = std::nearbyint(t);
  } else if (spacing == "leading") {
    const int64_t ratio = num_train / steps;
    for (int64_t i = steps - 1; i >= 0; --i) out.push_back(static_cast<double>(i * ratio + offset));
  } else {
    out = arange_down(static_cast<double>(num_train), static_cast<double>(num_train) / steps);
    for (double& t : out) t = std::nearbyint(t) - 1;
    while (out.size() > static_cast<size_t>(steps)) out.pop_back();
  }
  return out;
}

}  // namespace

float NoiseSchedule::alpha_bar(int64_t t) const {
  if (t < 0 || t >= size())
    fail(ErrorCode::invalid_argument,
         "timestep {}: the network was trained with timesteps 0 to {}; take fewer steps, or check steps_offset", t,
         size() - 1);
  return alphas_cumprod[static_cast<size_t>(t)];
}

std::pair<float, float> NoiseSchedule::noise_mix(int64_t t) const {
  const float alpha = alpha_bar(t);
  return {std::sqrt(alpha), std::sqrt(1.0f - alpha)};
}

std::vector<float> NoiseSchedule::sigmas() const {
  std::vector<float> out(alphas_cumprod.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = std::sqrt((1.0f - alphas_cumprod[i]) / alphas_cumprod[i]);
  return out;
}

NoiseSchedule make_noise_schedule(const SchedulerConfig& config, ScheduleKind kind, bool sigma_based) {
  const int64_t count = config.integer("num_train_timesteps", 1000, 2, kMaxTrainTimesteps);
  std::vector<float> betas = make_betas(config, kind, count);
  const bool rescale = kind != ScheduleKind::no_rescale && config.boolean("rescale_betas_zero_snr", false);
  if (rescale) betas = rescale_zero_terminal_snr(betas);
  NoiseSchedule schedule{cumulative_alphas(betas)};
  if (rescale && sigma_based) schedule.alphas_cumprod.back() = 0x1p-24f;
  for (size_t t = 0; t < schedule.alphas_cumprod.size(); ++t) {
    const float a = schedule.alphas_cumprod[t];
    // No noise at all or nothing but noise cannot be divided by; only the very last step may be pure noise.
    const bool last_of_rescaled = rescale && t + 1 == schedule.alphas_cumprod.size();
    if (!(a < 1.0f) || !(a > 0.0f || (a == 0.0f && last_of_rescaled)))
      fail(ErrorCode::io,
           "scheduler_config.json: beta_start, beta_end, trained_betas: expected betas whose product of (1 - beta) "
           "stays between 0 and 1, found {} at timestep {}",
           a, t);
  }
  return schedule;
}

std::string spacing_of(const SchedulerConfig& config, const char* fallback) {
  return config.choice("timestep_spacing", fallback, {"linspace", "leading", "trailing"});
}

std::vector<double> spaced_timesteps(const std::string& spacing, int64_t num_train, int steps, int64_t offset) {
  return spaced(spacing, num_train, steps, offset, true);
}

std::vector<double> spaced_timesteps_unrounded(const std::string& spacing, int64_t num_train, int steps,
                                               int64_t offset) {
  return spaced(spacing, num_train, steps, offset, false);
}

std::vector<double> linspace(double start, double stop, int count) {
  std::vector<double> out(static_cast<size_t>(count), start);
  if (count < 2) return out;
  const double step = (stop - start) / (count - 1);
  for (int i = 0; i < count; ++i) out[static_cast<size_t>(i)] = i * step + start;
  out.back() = stop;
  return out;
}

std::vector<double> arange_down(double start, double step) {
  const auto count = static_cast<size_t>(std::ceil((0 - start) / -step));
  const double delta = (start - step) - start;  // as numpy: the difference of the first two
  std::vector<double> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = start + static_cast<double>(i) * delta;
  return out;
}

std::vector<float> linspace_f32(double start, double stop, int64_t count) {
  const auto first = static_cast<float>(start), last = static_cast<float>(stop);
  if (count == 1) return {first};
  const float step = (last - first) / static_cast<float>(count - 1);
  std::vector<float> out(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    out[static_cast<size_t>(i)] = i < count / 2 ? std::fma(step, static_cast<float>(i), first)
                                                : std::fma(-step, static_cast<float>(count - i - 1), last);
  return out;
}

}  // namespace easel::sampling
