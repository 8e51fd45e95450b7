// The exact linear part of the reverse-time SDE with noise strength η:
// x' = (σ'/σ)·e^(−ηh)·x + α'·(1 − e^(−(1+η)h))·D + σ'·√(1 − e^(−2ηh))·noise, D to higher order as in dpmpp.cpp.
#include <cmath>

#include "sampling/solvers.h"

namespace easel::sampling {

void solve_dpmpp_sde(SolverRun& run) {
  const auto x = run.sample(), denoised = run.vector(), denoised2 = run.vector(), middle = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    if (to == 0) {
      mix(x, {{1, denoised}});
    } else {
      constexpr double r = 0.5, weight = 1 / (2 * r);
      const double half = std::pow(from, 1 - r) * std::pow(to, r);
      const AncestralStep first = ancestral_step(from, half, run.eta());
      mix(middle, {{first.down / from, x}, {1 - first.down / from, denoised}});
      if (first.up > 0) mix(middle, {{1, middle}, {first.up, run.noise(from, half)}});
      run.denoise(middle, half, denoised2);
      const AncestralStep whole = ancestral_step(from, to, run.eta());
      const double ratio = whole.down / from;
      mix(x, {{ratio, x}, {(1 - ratio) * (1 - weight), denoised}, {(1 - ratio) * weight, denoised2}});
      if (whole.up > 0) mix(x, {{1, x}, {whole.up, run.noise(from, to)}});
    }
    run.done(i);
  }
}

namespace {

// What the steps of 2M and 3M share.
struct SdeStep {
  double h, grown, x, noise;  // step of λ; (1+η)h; weights of the sample and of the noise
  SdeStep(const SolverRun& run, double from, double to)
      : h(run.lambda(to) - run.lambda(from)),
        grown(h * (1 + run.eta())),
        x(to / from * std::exp(-h * run.eta())),
        noise(to * std::sqrt(-std::expm1(-2 * h * run.eta()))) {}
};

void solve_2m(SolverRun& run, bool heun) {
  const auto x = run.sample();
  History denoised(run, 2);
  double h_last = 0;
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised.push());
    if (to == 0) {
      mix(x, {{1, denoised[0]}});
    } else {
      const SdeStep step(run, from, to);
      const double weight = -run.alpha(to) * std::expm1(-step.grown);
      double slope = 0;
      if (denoised.count() == 2) {
        const double by_rule = heun ? run.alpha(to) * (1 + std::expm1(-step.grown) / step.grown) : weight / 2;
        slope = by_rule * step.h / h_last;
      }
      mix(x, {{step.x, x}, {weight + slope, denoised[0]}, {-slope, denoised[1]}});
      if (step.noise > 0) mix(x, {{1, x}, {step.noise, run.noise(from, to)}});
      h_last = step.h;
    }
    run.done(i);
  }
}

}  // namespace

void solve_dpmpp_2m_sde(SolverRun& run) { solve_2m(run, false); }
void solve_dpmpp_2m_sde_heun(SolverRun& run) { solve_2m(run, true); }

void solve_dpmpp_3m_sde(SolverRun& run) {
  const auto x = run.sample();
  History denoised(run, 3);
  double h1 = 0, h2 = 0;  // the steps before this one
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised.push());
    if (to == 0) {
      mix(x, {{1, denoised[0]}});
    } else {
      const SdeStep step(run, from, to);
      const double phi1 = -std::expm1(-step.grown), phi2 = 1 - phi1 / step.grown, phi3 = phi2 / step.grown - 0.5;
      // weights of D and of the divided differences, turned into weights of the three D
      double w0 = phi1, w1 = 0, w2 = 0;
      if (denoised.count() == 2) {
        const double d = phi2 * step.h / h1;
        w0 += d;
        w1 -= d;
      } else if (denoised.count() == 3) {
        const double r0 = h1 / step.h, r1 = h2 / step.h;
        const double newer = phi2 * (1 + r0 / (r0 + r1)) - phi3 / (r0 + r1);  // of (D0 − D1)/r0
        const double older = -phi2 * r0 / (r0 + r1) + phi3 / (r0 + r1);       // of (D1 − D2)/r1
        w0 += newer / r0;
        w1 += older / r1 - newer / r0;
        w2 -= older / r1;
      }
      const double alpha = run.alpha(to);
      mix(x, {{step.x, x}, {alpha * w0, denoised[0]}, {alpha * w1, denoised[1]}, {alpha * w2, denoised[2]}});
      if (step.noise > 0) mix(x, {{1, x}, {step.noise, run.noise(from, to)}});
      h2 = h1;
      h1 = step.h;
    }
    run.done(i);
  }
}

}  // namespace easel::sampling
