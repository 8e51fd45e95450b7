// Half a step to √(σ·σ'), then the whole step with the slope found there.
#include <cmath>

#include "sampling/solvers.h"

namespace easel::sampling {

namespace {

// x := x + d(middle)·(to − from)
void midpoint_step(SolverRun& run, double from, double to, std::span<float> x, std::span<float> denoised,
                   std::span<float> middle) {
  const double half = std::sqrt(from * to), ratio = half / from;
  mix(middle, {{ratio, x}, {1 - ratio, denoised}});
  run.denoise(middle, half, denoised);
  const double slope = (to - from) / half;
  mix(x, {{1, x}, {slope, middle}, {-slope, denoised}});
}

}  // namespace

void solve_dpm_2(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector(), middle = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double sigma = run.churn(i), to = run.sigma(i + 1);
    run.denoise(x, sigma, denoised);
    if (to == 0)
      mix(x, {{1, denoised}});
    else
      midpoint_step(run, sigma, to, x, denoised, middle);
    run.done(i);
  }
}

void solve_dpm_2_ancestral(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector(), middle = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    const auto [down, up] = ancestral_step(from, to, run.eta());
    if (down == 0) {
      mix(x, {{1, denoised}});
    } else {
      midpoint_step(run, from, down, x, denoised, middle);
      mix(x, {{1, x}, {up, run.noise(from, to)}});
    }
    run.done(i);
  }
}

}  // namespace easel::sampling
