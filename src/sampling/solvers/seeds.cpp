// Exponential Runge–Kutta stages of the reverse-time SDE that share one path of noise: the stage at λ + c·h has
// σ_c·e^(−cηh)/σ·x + α_c·(…)·D + σ_c·n_c, where n_c goes on from the stage before: n_c = e^((b−c)ηh)·n_b + fresh noise.
#include <cmath>

#include "sampling/solvers.h"

namespace easel::sampling {

namespace {

// ∫ of 1 and of λ under the exponential: (e^−h − 1) and ((e^−h − 1) + h)/(−h).
double phi1(double h) { return std::expm1(-h); }
double phi2(double h) { return (std::expm1(-h) + h) / -h; }

// The noise of the stages of a step.
class StagePath {
 public:
  explicit StagePath(SolverRun& run) : run_(run), path_(run.vector()) {}
  void begin(double h) { h_ = h * run_.eta(), at_ = 0; }
  // x += σ_to·n at the stage c
  void add(std::span<float> x, double c, double from, double to) {
    if (run_.eta() <= 0 || run_.options().s_noise <= 0) return;
    const double passed = (c - at_) * h_, kept = at_ == 0 ? 0 : std::exp(-passed);
    mix(path_, {{kept, path_}, {std::sqrt(-std::expm1(-2 * passed)), run_.noise(from, to)}});
    mix(x, {{1, x}, {to, path_}});
    at_ = c;
  }

 private:
  SolverRun& run_;
  std::span<float> path_;
  double h_ = 0, at_ = 0;
};

}  // namespace

void solve_seeds_2(SolverRun& run) {
  constexpr double r = 0.5, weight = 1 / (2 * r);
  const auto x = run.sample(), d1 = run.vector(), d2 = run.vector(), stage = run.vector();
  StagePath path(run);
  const double eta = run.eta();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, d1);
    if (to == 0) {
      mix(x, {{1, d1}});
      run.done(i);
      continue;
    }
    const double start = run.lambda(from), h = run.lambda(to) - start, grown = h * (1 + eta);
    const double middle = run.sigma_of(start + r * h);
    path.begin(h);
    mix(stage, {{middle / from * std::exp(-r * h * eta), x}, {-run.alpha(middle) * phi1(r * grown), d1}});
    path.add(stage, r, from, middle);
    run.denoise(stage, middle, d2);
    const double b = -run.alpha(to) * phi1(grown);
    mix(x, {{to / from * std::exp(-h * eta), x}, {b * (1 - weight), d1}, {b * weight, d2}});
    path.add(x, 1, middle, to);
    run.done(i);
  }
}

void solve_seeds_3(SolverRun& run) {
  constexpr double r1 = 1. / 3, r2 = 2. / 3;
  const auto x = run.sample(), d1 = run.vector(), d2 = run.vector(), d3 = run.vector(), stage = run.vector();
  StagePath path(run);
  const double eta = run.eta();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, d1);
    if (to == 0) {
      mix(x, {{1, d1}});
      run.done(i);
      continue;
    }
    const double start = run.lambda(from), h = run.lambda(to) - start, grown = h * (1 + eta);
    const double s1 = run.sigma_of(start + r1 * h), s2 = run.sigma_of(start + r2 * h);
    path.begin(h);
    mix(stage, {{s1 / from * std::exp(-r1 * h * eta), x}, {-run.alpha(s1) * phi1(r1 * grown), d1}});
    path.add(stage, r1, from, s1);
    run.denoise(stage, s1, d2);

    const double a2 = r2 / r1 * phi2(r2 * grown), a1 = phi1(r2 * grown) - a2, alpha2 = run.alpha(s2);
    mix(stage, {{s2 / from * std::exp(-r2 * h * eta), x}, {-alpha2 * a1, d1}, {-alpha2 * a2, d2}});
    path.add(stage, r2, s1, s2);
    run.denoise(stage, s2, d3);

    const double b3 = phi2(grown) / r2, b1 = phi1(grown) - b3, alpha = run.alpha(to);
    mix(x, {{to / from * std::exp(-h * eta), x}, {-alpha * b1, d1}, {-alpha * b3, d3}});
    path.add(x, 1, s2, to);
    run.done(i);
  }
}

}  // namespace easel::sampling
