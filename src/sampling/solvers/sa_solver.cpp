// Stochastic Adams: x' = (σ'/σ)·e^(−τ²h)·x + Σ_j b_j·D_j + σ'·√(1 − e^(−2τ²h))·noise with
// b_j = α'·∫ (1+τ²)·e^(−(1+τ²)(λ'−λ))·L_j(λ) dλ over the step, L_j the Lagrange polynomials of the last clean samples;
// a predictor, and a corrector that takes the step again with the clean sample found at its end (same noise).
#include <algorithm>
#include <array>
#include <cmath>

#include "sampling/solvers.h"
#include "sampling/solvers/quadrature.h"

namespace easel::sampling {

namespace {

constexpr size_t kPredictor = 3, kCorrector = 4;

// Terms 1 … order of the sum, for clean samples at the levels newest, newest − 1, …
void add_clean(const SolverRun& run, int from, int newest, size_t order, double tau, const History& clean,
               std::span<Term> terms) {
  std::array<double, kCorrector> nodes;
  for (size_t k = 0; k < order; ++k) nodes[k] = run.lambda(run.sigma(newest - static_cast<int>(k)));
  const double begin = run.lambda(run.sigma(from)), end = run.lambda(run.sigma(from + 1)), speed = 1 + tau * tau;
  for (size_t j = 0; j < order; ++j) {
    const double b = integrate(begin, end, [&](double l) {
      return speed * std::exp(-speed * (end - l)) * lagrange(std::span(nodes).first(order), j, l);
    });
    terms[j + 1] = {run.alpha(run.sigma(from + 1)) * b, clean[j]};
  }
}

}  // namespace

void solve_sa_solver(SolverRun& run) {
  const auto x = run.sample(), predicted = run.vector(), noise = run.vector();
  History clean(run, kCorrector);
  const double high = run.network().sigma_at(0.2), low = run.network().sigma_at(0.8);
  mix(predicted, {{1, x}});
  double tau = 0, h = 0;
  std::array<Term, kCorrector + 1> terms;
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(predicted, from, clean.push());
    if (to == 0) {  // nothing follows that a corrected sample would serve
      mix(x, {{1, clean[0]}});
      run.done(i);
      continue;
    }
    if (i == 0) {
      mix(x, {{1, predicted}});
    } else {
      terms[0] = {from / run.sigma(i - 1) * std::exp(-tau * tau * h), x};
      const size_t order = std::min(kCorrector, clean.count());
      add_clean(run, i - 1, i, order, tau, clean, terms);
      mix(x, std::span<const Term>(terms.data(), order + 1));
      if (tau > 0) mix(x, {{1, x}, {1, noise}});
    }
    tau = to <= high && to >= low ? run.eta() : 0;
    h = run.lambda(to) - run.lambda(from);
    terms[0] = {to / from * std::exp(-tau * tau * h), x};
    const size_t order = std::min(kPredictor, clean.count());
    add_clean(run, i, i, order, tau, clean, terms);
    mix(predicted, std::span<const Term>(terms.data(), order + 1));
    if (tau > 0) {
      mix(noise, {{to * std::sqrt(-std::expm1(-2 * tau * tau * h)), run.noise(from, to)}});
      mix(predicted, {{1, predicted}, {1, noise}});
    }
    if (i == run.steps() - 1) mix(x, {{1, predicted}});
    run.done(i);
  }
}

}  // namespace easel::sampling
