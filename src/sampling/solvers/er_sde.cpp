// With ρ = σ/α, noise scale φ(ρ) and r = φ(ρ')/φ(ρ):
// x' = (α'/α)·r·x + α'·((1 − r)·D + (Δ + φ(ρ')·s1)·D' + (Δ²/2 + φ(ρ')·s2)·D'') + α'·√(ρ'² − ρ²r²)·noise, Δ = ρ' − ρ,
// s1 = ∫ dρ/φ and s2 = ∫ (ρ − ρ_i)/φ dρ over the step, D' and D'' by divided differences.
#include <cmath>

#include "sampling/solvers.h"

namespace easel::sampling {

namespace {

double noise_scale(double x) { return x * (std::exp(std::pow(x, 0.3)) + 10); }

}  // namespace

void solve_er_sde(SolverRun& run) {
  constexpr int kPoints = 200;  // of the integrals' Riemann sums, as published
  const auto x = run.sample(), first_last = run.vector(), second = run.vector();
  const auto first = run.vector();
  History denoised(run, 2);
  const auto rho = [&](int i) { return run.sigma(i) / run.alpha(run.sigma(i)); };
  for (int i = 0; i < run.steps(); ++i) {
    run.denoise(x, run.sigma(i), denoised.push());
    if (run.sigma(i + 1) == 0) {
      mix(x, {{1, denoised[0]}});
      run.done(i);
      continue;
    }
    const double from = rho(i), to = rho(i + 1), alpha = run.alpha(run.sigma(i + 1));
    const double scale = noise_scale(to), r = scale / noise_scale(from), delta = to - from;
    const double share = alpha / run.alpha(run.sigma(i));
    double w1 = 0, w2 = 0;  // of the first and second derivative
    if (i >= 1) {
      const double width = -delta / kPoints;
      double s1 = 0, s2 = 0;
      for (int k = 0; k < kPoints; ++k) {
        const double at = to + k * width, inverse = 1 / noise_scale(at);
        s1 += inverse * width;
        s2 += (at - from) * inverse * width;
      }
      const double spacing = from - rho(i - 1);
      mix(first, {{1 / spacing, denoised[0]}, {-1 / spacing, denoised[1]}});
      w1 = delta + s1 * scale;
      if (i >= 2) {
        const double wide = (from - rho(i - 2)) / 2;
        mix(second, {{1 / wide, first}, {-1 / wide, first_last}});
        w2 = delta * delta / 2 + s2 * scale;
      }
    }
    mix(x, {{share * r, x}, {alpha * (1 - r), denoised[0]}, {alpha * w1, first}, {alpha * w2, second}});
    mix(first_last, {{1, first}});
    const double up = alpha * std::sqrt(std::max(0.0, to * to - from * from * r * r));
    mix(x, {{1, x}, {up, run.noise(run.sigma(i), run.sigma(i + 1))}});
    run.done(i);
  }
}

}  // namespace easel::sampling
