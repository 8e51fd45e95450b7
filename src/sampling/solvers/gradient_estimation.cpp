// x' = x + (γ·d − (γ − 1)·d_last)·(σ' − σ): the slope extrapolated from the last two.
#include "sampling/solvers.h"

namespace easel::sampling {

void solve_gradient_estimation(SolverRun& run) {
  constexpr double gamma = 2;
  const auto x = run.sample(), denoised = run.vector();
  History slopes(run, 2);
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1), step = to - from;
    run.denoise(x, from, denoised);
    mix(slopes.push(), {{1 / from, x}, {-1 / from, denoised}});
    if (to == 0)
      mix(x, {{1, denoised}});
    else if (slopes.count() < 2)
      mix(x, {{1, x}, {step, slopes[0]}});
    else
      mix(x, {{1, x}, {gamma * step, slopes[0]}, {(1 - gamma) * step, slopes[1]}});
    run.done(i);
  }
}

}  // namespace easel::sampling
