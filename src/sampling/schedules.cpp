#include "sampling/schedules.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include "base/fail.h"
#include "sampling/names.h"
#include "sampling/schedule.h"
#include "sampling/sigmas.h"

namespace easel::sampling {

namespace {

using Sigmas = std::vector<double>;

Sigmas simple(const ModelSampling& model, const ScheduleOptions& o) {
  const auto& table = model.sigmas();
  const double stride = static_cast<double>(table.size()) / o.steps;
  Sigmas out;
  for (int i = 0; i < o.steps; ++i) out.push_back(table[table.size() - 1 - static_cast<size_t>(i * stride)]);
  out.push_back(0);
  return out;
}

Sigmas of_timesteps(const ModelSampling& model, const std::vector<double>& timesteps) {
  Sigmas out;
  for (const double t : timesteps) out.push_back(model.sigma(static_cast<float>(t)));
  out.push_back(0);
  return out;
}

Sigmas normal(const ModelSampling& model, const ScheduleOptions& o) {
  return of_timesteps(model, linspace(static_cast<double>(model.sigmas().size() - 1), 0, o.steps));
}

Sigmas sgm_uniform(const ModelSampling& model, const ScheduleOptions& o) {
  std::vector<double> timesteps = linspace(static_cast<double>(model.sigmas().size() - 1), 0, o.steps + 1);
  timesteps.pop_back();
  return of_timesteps(model, timesteps);
}

Sigmas ddim_uniform(const ModelSampling& model, const ScheduleOptions& o) {
  const auto& table = model.sigmas();
  const size_t stride = std::max<size_t>(table.size() / static_cast<size_t>(o.steps), 1);
  Sigmas out = {0};
  for (size_t t = 1; t < table.size(); t += stride) out.push_back(table[t]);
  std::reverse(out.begin(), out.end());
  return out;
}

Sigmas karras(const ModelSampling& model, const ScheduleOptions& o) {
  const double rho = o.rho.value_or(7);
  const double low = std::pow(model.sigma_min(), 1 / rho), high = std::pow(model.sigma_max(), 1 / rho);
  Sigmas out = linspace(0, 1, o.steps);
  for (double& value : out) value = std::pow(high + value * (low - high), rho);
  out.push_back(0);
  return out;
}

Sigmas polyexponential(const ModelSampling& model, const ScheduleOptions& o) {
  const double rho = o.rho.value_or(1), low = std::log(model.sigma_min()), high = std::log(model.sigma_max());
  Sigmas out = linspace(1, 0, o.steps);
  for (double& value : out) value = std::exp(std::pow(value, rho) * (high - low) + low);
  out.push_back(0);
  return out;
}

Sigmas exponential(const ModelSampling& model, const ScheduleOptions& o) {
  ScheduleOptions even = o;
  even.rho = 1;
  return polyexponential(model, even);
}

Sigmas beta(const ModelSampling& model, const ScheduleOptions& o) {
  constexpr double a = 0.6;
  const auto& table = model.sigmas();
  Sigmas out;
  double last = -1;
  for (int i = 0; i < o.steps; ++i) {
    const double quantile = beta_quantile(1 - static_cast<double>(i) / o.steps, a);
    const double t = std::nearbyint(quantile * static_cast<double>(table.size() - 1));
    if (t != last) out.push_back(table[static_cast<size_t>(t)]);
    last = t;
  }
  out.push_back(0);
  return out;
}

Sigmas linear_quadratic(const ModelSampling& model, const ScheduleOptions& o) {
  if (o.steps == 1) return {model.sigma_max(), 0};
  constexpr double threshold = 0.025;
  const int linear = o.steps / 2, quadratic = o.steps - linear;
  // q(i) = a·i² + b·i + c joins the line at i = linear with its slope and reaches 1 at i = steps
  const double difference = linear - threshold * o.steps;
  const double a = difference / (linear * static_cast<double>(quadratic) * quadratic);
  const double b = threshold / linear - 2 * difference / (static_cast<double>(quadratic) * quadratic);
  const double c = a * linear * linear;
  Sigmas out;
  for (int i = 0; i <= o.steps; ++i) {
    const double done = i < linear ? i * threshold / linear : i < o.steps ? a * i * i + b * i + c : 1.0;
    out.push_back((1 - done) * model.sigma_max());
  }
  return out;
}

Sigmas kl_optimal(const ModelSampling& model, const ScheduleOptions& o) {
  const double low = std::atan(model.sigma_min()), high = std::atan(model.sigma_max());
  Sigmas out = linspace(0, 1, o.steps);
  for (double& value : out) value = std::tan(value * low + (1 - value) * high);
  out.push_back(0);
  return out;
}

constexpr std::array<double, 11> kAlignedSd15 = {14.615, 6.475, 3.861, 2.697, 1.886, 1.396,
                                                 0.963,  0.652, 0.399, 0.152, 0.029};
constexpr std::array<double, 11> kAlignedSdxl = {14.615, 6.315, 3.771, 2.181, 1.342, 0.862,
                                                 0.555,  0.380, 0.234, 0.113, 0.029};
constexpr std::array<double, 11> kAlignedSvd = {700.00, 54.5,  15.886, 7.977, 4.248, 1.789,
                                                0.981,  0.403, 0.173,  0.034, 0.002};

// steps + 1 levels, log-linear between the published ones, of which the last becomes 0.
template <const std::array<double, 11>& kLevels>
Sigmas align_your_steps(const ModelSampling& model, const ScheduleOptions& o) {
  Sigmas out;
  for (const double u : linspace(0, 1, o.steps + 1)) {
    const double position = u * (kLevels.size() - 1);
    const auto low = std::min(static_cast<size_t>(position), kLevels.size() - 2);
    const double w = position - static_cast<double>(low);
    out.push_back(std::exp((1 - w) * std::log(kLevels[low]) + w * std::log(kLevels[low + 1])));
  }
  out.back() = 0;
  return out;
}

Sigmas turbo(const ModelSampling& model, const ScheduleOptions& o) {
  constexpr int kLevels = 10;
  const int first = kLevels - static_cast<int>(kLevels * o.denoise);
  if (o.steps > kLevels - first)
    fail(ErrorCode::invalid_argument, "--scheduler turbo with --denoise {}: expected --steps of 1 to {}, found {}",
         o.denoise, kLevels - first, o.steps);
  const double stride = static_cast<double>(model.sigmas().size()) / kLevels;
  Sigmas out;
  for (int i = first; i < first + o.steps; ++i) out.push_back(model.sigma((kLevels - i) * stride - 1));
  out.push_back(0);
  return out;
}

struct Entry {
  const char* name;
  Sigmas (*make)(const ModelSampling&, const ScheduleOptions&);
};

constexpr Entry kEntries[] = {
    {"simple", simple},
    {"normal", normal},
    {"sgm_uniform", sgm_uniform},
    {"ddim_uniform", ddim_uniform},
    {"karras", karras},
    {"exponential", exponential},
    {"polyexponential", polyexponential},
    {"beta", beta},
    {"linear_quadratic", linear_quadratic},
    {"kl_optimal", kl_optimal},
    {"align_your_steps", align_your_steps<kAlignedSd15>},
    {"align_your_steps_sdxl", align_your_steps<kAlignedSdxl>},
    {"align_your_steps_svd", align_your_steps<kAlignedSvd>},
    {"turbo", turbo},
};

constexpr int kMaxSteps = 10000;

}  // namespace

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

std::vector<double> make_sigmas(const std::string& name, const ModelSampling& model, const ScheduleOptions& options) {
  const Entry* entry = std::find_if(std::begin(kEntries), std::end(kEntries),
                                    [&](const Entry& candidate) { return name == candidate.name; });
  if (entry == std::end(kEntries))
    fail(ErrorCode::invalid_argument, "--scheduler: unknown schedule \"{}\"{}", printable(name, 60),
         near_names(name, schedule_names()));
  if (!(options.denoise > 0 && options.denoise <= 1))
    fail(ErrorCode::invalid_argument, "--denoise: expected above 0 and up to 1, found {}", options.denoise);
  ScheduleOptions all = options;
  const bool own_denoise = entry->make == turbo;
  if (options.denoise < 1 && !own_denoise) all.steps = static_cast<int>(std::min(1e9, options.steps / options.denoise));
  if (all.steps > kMaxSteps)
    fail(ErrorCode::invalid_argument, "--steps {} with --denoise {}: expected at most {} steps in all, found {}",
         options.steps, options.denoise, kMaxSteps, all.steps);
  if (options.discard_penultimate && !own_denoise) ++all.steps;
  std::vector<double> sigmas = entry->make(model, all);
  for (double& sigma : sigmas) sigma = static_cast<float>(sigma);  // as the programs with these rules keep them
  if (options.discard_penultimate && !own_denoise && sigmas.size() > 2) sigmas.erase(sigmas.end() - 2);
  const auto wanted = static_cast<size_t>(options.steps) + 1;
  if (all.denoise < 1 && !own_denoise && sigmas.size() > wanted)
    sigmas.erase(sigmas.begin(), sigmas.end() - static_cast<ptrdiff_t>(wanted));
  for (size_t i = 1; i < sigmas.size(); ++i)
    if (!(sigmas[i] < sigmas[i - 1]))
      fail(ErrorCode::invalid_argument,
           "--scheduler {} with --steps {}: the noise levels of step {} and the next are both {}; take fewer steps",
           name, options.steps, i - 1, sigmas[i]);
  return sigmas;
}

void check_sigmas(const std::vector<double>& sigmas) {
  if (sigmas.size() < 2 || sigmas.size() > kMaxSteps + 1)
    fail(ErrorCode::invalid_argument, "--sigmas: expected 2 to {} noise levels, found {}", kMaxSteps + 1,
         sigmas.size());
  for (size_t i = 0; i < sigmas.size(); ++i) {
    if (!(sigmas[i] >= 0 && sigmas[i] <= 1e6))
      fail(ErrorCode::invalid_argument, "--sigmas: value {}: expected a number from 0 to 1000000, found {}", i,
           sigmas[i]);
    if (i > 0 && !(sigmas[i] < sigmas[i - 1]))
      fail(ErrorCode::invalid_argument, "--sigmas: expected decreasing values, found {} after {}", sigmas[i],
           sigmas[i - 1]);
  }
}

}  // namespace easel::sampling
