// The trapezoidal rule, and its extension by the slope another step ahead.
#include "sampling/solvers.h"

namespace easel::sampling {

namespace {

// d := (x − D)/σ
void derivative(SolverRun& run, std::span<const float> x, double sigma, std::span<float> d) {
  run.denoise(x, sigma, d);
  mix(d, {{1 / sigma, x}, {-1 / sigma, d}});
}

}  // namespace

void solve_heun(SolverRun& run) {
  const auto x = run.sample(), d = run.vector(), ahead = run.vector(), d2 = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double sigma = run.churn(i), to = run.sigma(i + 1), step = to - sigma;
    if (to == 0) {
      run.denoise(x, sigma, d);
      mix(x, {{1, d}});
    } else {
      derivative(run, x, sigma, d);
      mix(ahead, {{1, x}, {step, d}});
      derivative(run, ahead, to, d2);
      mix(x, {{1, x}, {step / 2, d}, {step / 2, d2}});
    }
    run.done(i);
  }
}

// The weight of a slope at level σ_k is σ_k/(m·σ_0), m the number of slopes; the first one has the rest.
void solve_heunpp2(SolverRun& run) {
  const auto x = run.sample(), d = run.vector(), ahead = run.vector(), d2 = run.vector(), d3 = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double sigma = run.churn(i), to = run.sigma(i + 1), step = to - sigma, first = run.sigma(0);
    derivative(run, x, sigma, d);
    const int left = run.steps() - i;  // steps, with this one
    if (left == 1) {
      mix(x, {{1, x}, {step, d}});
    } else {
      mix(ahead, {{1, x}, {step, d}});
      derivative(run, ahead, to, d2);
      if (left == 2) {
        const double w2 = to / (2 * first);
        mix(x, {{1, x}, {step * (1 - w2), d}, {step * w2, d2}});
      } else {
        const double after = run.sigma(i + 2);
        mix(ahead, {{1, ahead}, {after - to, d2}});
        derivative(run, ahead, after, d3);
        const double w2 = to / (3 * first), w3 = after / (3 * first);
        mix(x, {{1, x}, {step * (1 - w2 - w3), d}, {step * w2, d2}, {step * w3, d3}});
      }
    }
    run.done(i);
  }
}

}  // namespace easel::sampling
