// Single steps in t = −ln σ (λ, for α = 1) with ε = (x − D)/σ, orders 1 to 3 (Lu et al. 2022, algorithms 1 and 2).
#include <algorithm>
#include <array>
#include <cmath>

#include "base/fail.h"
#include "sampling/solvers.h"

namespace easel::sampling {

namespace {

double sigma_at(double t) { return std::exp(-t); }

// The steps of one run, with ε at the start of the current one.
class SingleSteps {
 public:
  explicit SingleSteps(SolverRun& run)
      : run_(run), eps_(run.vector()), eps1_(run.vector()), eps2_(run.vector()), stage_(run.vector()) {}

  void begin(std::span<const float> x, double t) { noise_at(x, t, eps_); }

  void first(std::span<const float> x, double t, double next, std::span<float> out) {
    mix(out, {{1, x}, {-sigma_at(next) * std::expm1(next - t), eps_}});
  }
  // r: where in the step the slope is taken; keeps it for third().
  void second(std::span<const float> x, double t, double next, double r, std::span<float> out) {
    const double h = next - t, grown = std::expm1(h), at = sigma_at(next);
    middle(x, t, h, r);
    mix(out, {{1, x}, {-at * grown * (1 - 1 / (2 * r)), eps_}, {-at * grown / (2 * r), eps1_}});
  }
  // `kept`: second() has just been called with r = 1/3 for the same step.
  void third(std::span<const float> x, double t, double next, bool kept, std::span<float> out) {
    constexpr double r1 = 1. / 3, r2 = 2. / 3;
    const double h = next - t;
    if (!kept) middle(x, t, h, r1);
    const double second = t + r2 * h, grown2 = std::expm1(r2 * h), at2 = sigma_at(second);
    const double w2 = at2 * (r2 / r1) * (grown2 / (r2 * h) - 1);
    mix(stage_, {{1, x}, {-at2 * grown2 + w2, eps_}, {-w2, eps1_}});
    noise_at(stage_, second, eps2_);
    const double grown = std::expm1(h), at = sigma_at(next), w = at / r2 * (grown / h - 1);
    mix(out, {{1, x}, {-at * grown + w, eps_}, {-w, eps2_}});
  }

 private:
  void noise_at(std::span<const float> x, double t, std::span<float> eps) {
    const double sigma = sigma_at(t);
    run_.denoise(x, sigma, eps);
    mix(eps, {{1 / sigma, x}, {-1 / sigma, eps}});
  }
  void middle(std::span<const float> x, double t, double h, double r) {
    mix(stage_, {{1, x}, {-sigma_at(t + r * h) * std::expm1(r * h), eps_}});
    noise_at(stage_, t + r * h, eps1_);
  }

  SolverRun& run_;
  std::span<float> eps_, eps1_, eps2_, stage_;
};

// Where a step to `next` really goes, and the noise after it.
struct Target {
  double t, up;
};
Target target(SolverRun& run, double t, double next, double end) {
  if (run.eta() == 0) return {next, 0};
  const AncestralStep step = ancestral_step(sigma_at(t), sigma_at(next), run.eta());
  const double to = std::min(end, -std::log(step.down));
  return {to, std::sqrt(std::max(0.0, std::pow(sigma_at(next), 2) - std::pow(sigma_at(to), 2)))};
}

// The last level above 0: the steps are even in λ, which ends there.
double last_level(const SolverRun& run) {
  return run.sigma(run.steps()) > 0 ? run.sigma(run.steps()) : run.sigma(run.steps() - 1);
}

}  // namespace

void solve_dpm_fast(SolverRun& run) {
  const auto x = run.sample();
  const double begin = -std::log(run.sigma(0)), end = -std::log(last_level(run));
  if (!(begin < end)) fail(ErrorCode::invalid_argument, "--sampler dpm_fast: expected --steps of 2 at least, found 1");
  // As many calls of the network as steps were asked for: steps of order 3, and what is left over at the end.
  const int calls = run.steps(), count = calls / 3 + 1;
  SingleSteps steps(run);
  for (int i = 0; i < count; ++i) {
    const double t = begin + (end - begin) * i / count, next = begin + (end - begin) * (i + 1) / count;
    const int order = calls % 3 == 0 ? (i < count - 2 ? 3 : i == count - 2 ? 2 : 1) : i < count - 1 ? 3 : calls % 3;
    const auto [to, up] = target(run, t, next, end);
    steps.begin(x, t);
    if (order == 1) steps.first(x, t, to, x);
    if (order == 2) steps.second(x, t, to, 0.5, x);
    if (order == 3) steps.third(x, t, to, false, x);
    if (up > 0) mix(x, {{1, x}, {up, run.noise(sigma_at(t), sigma_at(next))}});
    run.done(i);
  }
}

void solve_dpm_adaptive(SolverRun& run) {
  const auto x = run.sample();
  const double begin = -std::log(run.sigma(0)), end = -std::log(last_level(run));
  if (!(begin < end))
    fail(ErrorCode::invalid_argument, "--sampler dpm_adaptive: expected --steps of 2 at least, found 1");
  constexpr double kFirstStep = 0.05, kSafety = 0.81, kTiny = 1e-8, kEnd = 1e-5;
  constexpr int kMaxTries = 10000;  // a network that returns NaN would never let the steps grow
  const double order = run.eta() == 0 ? 3 : 1.5, rtol = run.options().rtol, atol = run.options().atol;
  SingleSteps steps(run);
  const auto low = run.vector(), high = run.vector(), before = run.vector();
  mix(before, {{1, x}});
  double h = kFirstStep, t = begin;
  int accepted = 0;
  for (int tries = 0; t < end - kEnd; ++tries) {
    if (tries == kMaxTries)
      fail(ErrorCode::invalid_argument, "--rtol {}, --atol {}: dpm_adaptive took {} steps and has not arrived", rtol,
           atol, tries);
    const double next = std::min(end, t + h);
    const auto [to, up] = target(run, t, next, end);
    steps.begin(x, t);
    steps.second(x, t, to, 1. / 3, low);
    steps.third(x, t, to, true, high);
    double sum = 0;
    for (size_t j = 0; j < x.size(); ++j) {
      const double scale = std::max(atol, rtol * std::max(std::fabs(low[j]), std::fabs(before[j])));
      const double error = (static_cast<double>(low[j]) - static_cast<double>(high[j])) / scale;
      sum += error * error;
    }
    const double error = std::sqrt(sum / static_cast<double>(x.size()));
    const double factor = 1 + std::atan(std::pow(1 / (error + kTiny), 1 / order) - 1);  // the integral term alone
    if (factor >= kSafety) {
      mix(before, {{1, low}});
      mix(x, {{1, high}});
      if (up > 0) mix(x, {{1, x}, {up, run.noise(sigma_at(t), sigma_at(next))}});
      t = next;
      run.done(accepted++);
    }
    h *= factor;
  }
}

}  // namespace easel::sampling
