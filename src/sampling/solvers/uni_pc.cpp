// With y = x (α = 1), h = λ' − λ and φ = e^−h − 1, predictor and corrector are
// y' = (σ'/σ)·y − φ·D0 − B·Σ_k ρ_k·(D_k − D0)/r_k, r_k = (λ_k − λ)/h; the corrector's last D lies at the step's end
// (r = 1). ρ solves Σ_k r_k^(m−1)·ρ_k = m!·φ_(m+1)/B for m = 1 … order.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "sampling/solvers.h"

namespace easel::sampling {

namespace {

constexpr size_t kMaxOrder = 3;

// Gaussian elimination with pivots, in place; the systems are Vandermonde with distinct nodes.
void solve_linear(std::array<std::array<double, kMaxOrder>, kMaxOrder> a, std::array<double, kMaxOrder>& b, size_t n) {
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t row = k + 1; row < n; ++row)
      if (std::fabs(a[row][k]) > std::fabs(a[pivot][k])) pivot = row;
    std::swap(a[k], a[pivot]);
    std::swap(b[k], b[pivot]);
    for (size_t row = 0; row < n; ++row) {
      if (row == k) continue;
      const double factor = a[row][k] / a[k][k];
      for (size_t column = k; column < n; ++column) a[row][column] -= factor * a[k][column];
      b[row] -= factor * b[k];
    }
  }
  for (size_t k = 0; k < n; ++k) b[k] /= a[k][k];
}

// ρ for the first n of the nodes r.
std::array<double, kMaxOrder> rhos(const std::array<double, kMaxOrder>& r, size_t n, double h, double b) {
  // The second-order predictor and the first-order corrector take the limit for small steps, as published.
  if (n == 1) return {0.5};
  std::array<std::array<double, kMaxOrder>, kMaxOrder> matrix;
  std::array<double, kMaxOrder> right{};
  double phi = std::expm1(-h) / -h - 1, factorial = 1;
  for (size_t m = 0; m < n; ++m) {
    for (size_t k = 0; k < n; ++k) matrix[m][k] = m == 0 ? 1 : matrix[m - 1][k] * r[k];
    right[m] = phi * factorial / b;
    factorial *= static_cast<double>(m + 2);
    phi = phi / -h - 1 / factorial;
  }
  solve_linear(matrix, right, n);
  return right;
}

void solve(SolverRun& run, bool bh2) {
  const auto x = run.sample(), predicted = run.vector();
  History clean(run, kMaxOrder + 1);
  const int steps = run.steps();
  // The last level may be 0, where λ has no end: the run stops just above.
  constexpr double kLast = 0.001;
  const auto level = [&](int i) {
    return i == steps && run.sigma(i) == 0 ? std::min(kLast, run.sigma(i - 1) / 2) : run.sigma(i);
  };
  const auto most = static_cast<size_t>(std::clamp(steps - 1, 1, static_cast<int>(kMaxOrder)));
  run.denoise(x, level(0), clean.push());
  for (int i = 0; i < steps; ++i) {
    const double from = level(i), to = level(i + 1), h = std::log(from / to);
    const size_t order = std::min({most, static_cast<size_t>(i) + 1, static_cast<size_t>(steps - i)});
    const double phi = std::expm1(-h), b = bh2 ? phi : -h;
    std::array<double, kMaxOrder> r{};
    for (size_t k = 1; k < order; ++k) r[k - 1] = std::log(from / level(i - static_cast<int>(k))) / h;
    r[order - 1] = 1;

    std::array<Term, kMaxOrder + 2> terms;
    const auto take = [&](std::span<float> out, const std::array<double, kMaxOrder>& rho, size_t behind, bool ahead) {
      // clean[ahead] is D0; clean[0] the one at the end of the step, if any
      const size_t base = ahead ? 1 : 0;
      double of_d0 = -phi;
      size_t count = 2;
      for (size_t k = 0; k < behind; ++k) {
        const double weight = -b * rho[k] / r[k];
        terms[count++] = {weight, clean[base + 1 + k]};
        of_d0 -= weight;
      }
      if (ahead) {
        const double weight = -b * rho[behind];
        terms[count++] = {weight, clean[0]};
        of_d0 -= weight;
      }
      terms[0] = {to / from, x};
      terms[1] = {of_d0, clean[base]};
      mix(out, std::span<const Term>(terms.data(), count));
    };
    take(predicted, order > 1 ? rhos(r, order - 1, h, b) : std::array<double, kMaxOrder>{}, order - 1, false);
    if (i + 1 == steps) {
      mix(x, {{1, predicted}});
    } else {
      run.denoise(predicted, to, clean.push());
      take(x, rhos(r, order, h, b), order - 1, true);
    }
    run.done(i);
  }
}

}  // namespace

void solve_uni_pc(SolverRun& run) { solve(run, false); }
void solve_uni_pc_bh2(SolverRun& run) { solve(run, true); }

}  // namespace easel::sampling
