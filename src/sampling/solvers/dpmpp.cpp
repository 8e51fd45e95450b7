// x' = (σ'/σ)·x + α'·(1 − e^−h)·D with D from one more call (2S) or the step before (2M).
#include <cmath>

#include "sampling/solvers.h"

namespace easel::sampling {

void solve_dpmpp_2s_ancestral(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector(), middle = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    const auto [down, up] = ancestral_step(from, to, run.eta());
    if (down == 0) {
      mix(x, {{1, denoised}});
    } else {
      const double half = std::sqrt(from * down);
      mix(middle, {{half / from, x}, {1 - half / from, denoised}});
      run.denoise(middle, half, denoised);
      mix(x, {{down / from, x}, {1 - down / from, denoised}});
    }
    if (up > 0) mix(x, {{1, x}, {up, run.noise(from, to)}});
    run.done(i);
  }
}

// The sample is moved by D − D_u first, with the unconditional D_u of the newest call.
void solve_dpmpp_2s_ancestral_cfg_pp(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector(), middle = run.vector(), denoised2 = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    const auto [down, up] = ancestral_step(from, to, run.eta());
    if (down == 0) {
      mix(x, {{1, denoised}, {to / from, x}, {-to / from, run.unconditional()}});
    } else {
      const double half = std::sqrt(from * down), ratio = half / from, whole = down / from;
      mix(middle, {{ratio, x}, {1, denoised}, {-ratio, run.unconditional()}});
      run.denoise(middle, half, denoised2);
      mix(x, {{whole, x}, {whole, denoised}, {-whole, run.unconditional()}, {1 - whole, denoised2}});
    }
    if (up > 0) mix(x, {{1, x}, {up, run.noise(from, to)}});
    run.done(i);
  }
}

void solve_dpmpp_2m(SolverRun& run) {
  const auto x = run.sample();
  History denoised(run, 2);
  double h_last = 0;
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised.push());
    const double h = to > 0 ? run.lambda(to) - run.lambda(from) : HUGE_VAL;
    const double ratio = to / from, weight = -run.alpha(to) * std::expm1(-h);
    if (denoised.count() < 2 || to == 0) {
      mix(x, {{ratio, x}, {weight, denoised[0]}});
    } else {
      const double slope = h / (2 * h_last);
      mix(x, {{ratio, x}, {weight * (1 + slope), denoised[0]}, {-weight * slope, denoised[1]}});
    }
    h_last = h;
    run.done(i);
  }
}

void solve_dpmpp_2m_cfg_pp(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector();
  History unconditional(run, 2);
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    mix(unconditional.push(), {{1, run.unconditional()}});
    const double ratio = to / from;  // e^−h
    if (unconditional.count() < 2 || to == 0) {
      mix(x, {{ratio, x}, {1, denoised}, {-ratio, unconditional[0]}});
    } else {
      const double slope = std::log(from / to) / (2 * std::log(run.sigma(i - 1) / from)) * (1 - ratio);
      mix(x, {{ratio, x}, {1 + slope, denoised}, {-ratio, unconditional[0]}, {-slope, unconditional[1]}});
    }
    run.done(i);
  }
}

}  // namespace easel::sampling
