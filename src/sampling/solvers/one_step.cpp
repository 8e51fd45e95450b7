// Samplers that draw the next sample from what the network says about this one alone.
#include <cmath>

#include "sampling/solvers.h"

namespace easel::sampling {

// In y = x/√(1+σ²) with ᾱ = 1/(1+σ²), α = ᾱ/ᾱ' and ε = (x − D)/σ:
// y' = (y − (1−α)/√(1−ᾱ)·ε)/√α + √((1−α)(1−ᾱ')/(1−ᾱ))·noise, written for x.
void solve_ddpm(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    const double bar = 1 / (1 + from * from), next_bar = 1 / (1 + to * to), alpha = bar / next_bar;
    const double root = to > 0 ? std::sqrt(1 + to * to) : 1;  // back to x; at 0 they are the same
    const double sample = root / std::sqrt(alpha), eps = -sample * (1 - alpha) / std::sqrt(1 - bar) / from;
    mix(x, {{sample * std::sqrt(bar) + eps, x}, {-eps, denoised}});
    if (to > 0) mix(x, {{1, x}, {root * std::sqrt((1 - alpha) * (1 - next_bar) / (1 - bar)), run.noise(from, to)}});
    run.done(i);
  }
}

// x' = α'·D + σ'·noise
void solve_lcm(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    if (to > 0)
      mix(x, {{run.alpha(to), denoised}, {to, run.noise(from, to)}});
    else
      mix(x, {{1, denoised}});
    run.done(i);
  }
}

}  // namespace easel::sampling
