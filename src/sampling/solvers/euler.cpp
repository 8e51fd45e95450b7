// x' = x + d·(σ' − σ), which is (σ'/σ)·x + (1 − σ'/σ)·D.
#include <cmath>

#include "sampling/solvers.h"

namespace easel::sampling {

void solve_euler(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double sigma = run.churn(i), ratio = run.sigma(i + 1) / sigma;
    run.denoise(x, sigma, denoised);
    mix(x, {{ratio, x}, {1 - ratio, denoised}});
    run.done(i);
  }
}

namespace {

// Flow matching: down to σ_down, then scaled so that the clean part has its share at σ', and noise for the rest.
void ancestral_flow_step(SolverRun& run, int i, std::span<float> x, std::span<const float> denoised) {
  const double from = run.sigma(i), to = run.sigma(i + 1);
  const double down = to * (1 + (to / from - 1) * run.eta());
  const double scale = run.alpha(to) / run.alpha(down);
  const double up = std::sqrt(std::max(0.0, to * to - down * down * scale * scale));
  mix(x, {{scale * down / from, x}, {scale * (1 - down / from), denoised}, {up, run.noise(from, to)}});
}

}  // namespace

void solve_euler_ancestral(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    const auto [down, up] = ancestral_step(from, to, run.eta());
    if (to == 0)
      mix(x, {{1, denoised}});
    else if (run.network().is_flow())
      ancestral_flow_step(run, i, x, denoised);
    else
      mix(x, {{down / from, x}, {1 - down / from, denoised}, {up, run.noise(from, to)}});
    run.done(i);
  }
}

// x' = D + σ_down·d_u + σ_up·noise, d_u = (x − D_u)/σ with the unconditional D_u.
void solve_euler_ancestral_cfg_pp(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    const auto [down, up] = ancestral_step(from, to, run.eta());
    mix(x, {{1, denoised}, {down / from, x}, {-down / from, run.unconditional()}});
    if (up > 0) mix(x, {{1, x}, {up, run.noise(from, to)}});
    run.done(i);
  }
}

void solve_euler_cfg_pp(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double ratio = run.sigma(i + 1) / run.sigma(i);
    run.denoise(x, run.sigma(i), denoised);
    mix(x, {{1, denoised}, {ratio, x}, {-ratio, run.unconditional()}});
    run.done(i);
  }
}

}  // namespace easel::sampling
