// x' = x + Σ_j c_j·d_{i−j}: the derivative integrated as a polynomial through the last few.
#include <algorithm>
#include <array>
#include <cmath>

#include "sampling/solvers.h"
#include "sampling/solvers/quadrature.h"

namespace easel::sampling {

namespace {

constexpr size_t kMaxOrder = 4;
using Coefficients = std::array<double, kMaxOrder>;  // newest first

// A solver of this family: the order it has at most, whether the step to σ = 0 is the clean sample, and coefficients
// of `order` derivatives for step i.
template <typename Rule>
void solve_adams(SolverRun& run, size_t max_order, bool clean_last, Rule&& coefficients) {
  const auto x = run.sample();
  History derivatives(run, max_order);
  const auto denoised = run.vector();
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    mix(derivatives.push(), {{1 / from, x}, {-1 / from, denoised}});
    if (to == 0 && clean_last) {
      mix(x, {{1, denoised}});
    } else {
      const Coefficients c = coefficients(i, derivatives.count());
      std::array<Term, kMaxOrder + 1> terms = {Term{1, x}};
      for (size_t j = 0; j < derivatives.count(); ++j) terms[j + 1] = {c[j], derivatives[j]};
      mix(x, std::span<const Term>(terms.data(), derivatives.count() + 1));
    }
    run.done(i);
  }
}

// ∫ of the Lagrange polynomials through time(σ_{i−k}) over the step, dσ.
template <typename Time>
Coefficients lagrange_coefficients(const SolverRun& run, int i, size_t order, Time&& time) {
  std::array<double, kMaxOrder> nodes;
  for (size_t k = 0; k < order; ++k) nodes[k] = time(run.sigma(i - static_cast<int>(k)));
  Coefficients c{};
  for (size_t j = 0; j < order; ++j)
    c[j] = integrate(run.sigma(i), run.sigma(i + 1),
                     [&](double sigma) { return lagrange(std::span(nodes).first(order), j, time(sigma)); });
  return c;
}

void solve_lms(SolverRun& run, bool clean_last) {
  solve_adams(run, 4, clean_last, [&](int i, size_t order) {
    return lagrange_coefficients(run, i, order, [](double sigma) { return sigma; });
  });
}

// Time of the VP process with linear β whose σ is the given one, for σ(0.001) = 0.002 and σ(1) = 80.
double vp_time(double sigma) {
  const auto log_of = [](double s) { return std::log1p(s * s); };
  constexpr double kFirst = 1e-3;
  const double beta_range = 2 * (log_of(0.002) / kFirst - log_of(80)) / (kFirst - 1);
  const double beta_min = log_of(80) - beta_range / 2;
  return (std::sqrt(beta_min * beta_min + 2 * beta_range * log_of(sigma)) - beta_min) / beta_range;
}

// Step sizes, newest first.
std::array<double, 4> last_steps(const SolverRun& run, int i, size_t order) {
  std::array<double, 4> h{};
  for (size_t k = 0; k < order; ++k) {
    const int at = i + 1 - static_cast<int>(k);
    h[k] = run.sigma(at) - run.sigma(at - 1);
  }
  return h;
}

}  // namespace

void solve_lms(SolverRun& run) { solve_lms(run, true); }
void solve_lms_open(SolverRun& run) { solve_lms(run, false); }

void solve_ipndm(SolverRun& run) {
  static constexpr Coefficients kRows[kMaxOrder] = {{1, 0, 0, 0},
                                                    {3. / 2, -1. / 2, 0, 0},
                                                    {23. / 12, -16. / 12, 5. / 12, 0},
                                                    {55. / 24, -59. / 24, 37. / 24, -9. / 24}};
  solve_adams(run, 4, true, [&](int i, size_t order) {
    Coefficients c = kRows[order - 1];
    for (double& value : c) value *= run.sigma(i + 1) - run.sigma(i);
    return c;
  });
}

// The coefficients as its authors publish them: those of Adams–Bashforth for even steps, but a little different from
// them for uneven ones from order 3 on (their `temp` subtracts the product of two quotients from 1).
void solve_ipndm_v(SolverRun& run) {
  solve_adams(run, 4, true, [&](int i, size_t order) {
    const auto [h, h1, h2, h3] = last_steps(run, i, order);
    Coefficients c = {1, 0, 0, 0};
    if (order >= 2) {
      c[0] += h / (2 * h1);
      c[1] -= h / (2 * h1);
    }
    if (order >= 3) {
      const double third = (1 - h / (3 * (h + h1)) * (h * (h + h1)) / (h1 * (h1 + h2))) / 2;
      c[0] += third;
      c[1] -= (1 + h1 / h2) * third;
      c[2] += third * h1 / h2;
    }
    if (order >= 4) {
      const double fourth = ((1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))) *
                            (h * (h + h1) * (h + h1 + h2)) / (h1 * (h1 + h2) * (h1 + h2 + h3));
      const double q = h1 * (h1 + h2) / (h2 * (h2 + h3));
      c[0] += fourth;
      c[1] -= (1 + h1 / h2 + q) * fourth;
      c[2] += (h1 / h2 + q * (1 + h2 / h3)) * fourth;
      c[3] -= fourth * q * h1 / h2;
    }
    for (double& value : c) value *= h;
    return c;
  });
}

void solve_deis(SolverRun& run) {
  solve_adams(run, 3, true, [&](int i, size_t order) { return lagrange_coefficients(run, i, order, vp_time); });
}

}  // namespace easel::sampling
