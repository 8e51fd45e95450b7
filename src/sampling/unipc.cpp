// With h = λ' − λ and φ = e^k − 1, k = −h for the clean sample and h for the noise, predictor and corrector are
// x' = c·x − w·(φ·D0 + B·Σ_m ρ_m·(D_m − D0)/r_m), r_m = (λ_m − λ)/h, B = k (bh1) or φ (bh2), with c = σ'/σ and w = α'
// for the clean sample, c = α'/α and w = σ' for the noise; the corrector's last D lies at the step's end (r = 1).
// ρ solves Σ_m r_m^(n−1)·ρ_m = n!·φ_(n+1)/B for n = 1 … order. Everything in float32, as the reference.
#include <array>
#include <cmath>
#include <utility>

#include "base/fail.h"
#include "sampling/multistep.h"
#include "sampling/samplers.h"

namespace easel::sampling {

namespace {

constexpr size_t kMaxOrder = 8;
using Vector = std::array<float, kMaxOrder>;

// Gaussian elimination with pivots, as LAPACK's getrf and getrs have it, for Vandermonde systems of distinct nodes.
void solve_linear(std::array<Vector, kMaxOrder>& a, Vector& b, size_t n) {
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t row = k + 1; row < n; ++row)
      if (std::fabs(a[row][k]) > std::fabs(a[pivot][k])) pivot = row;
    std::swap(a[k], a[pivot]);
    std::swap(b[k], b[pivot]);
    for (size_t row = k + 1; row < n; ++row) {
      const float factor = a[row][k] / a[k][k];
      for (size_t column = k; column < n; ++column) a[row][column] -= factor * a[k][column];
      b[row] -= factor * b[k];
    }
  }
  for (size_t k = n; k-- > 0;) {
    for (size_t column = k + 1; column < n; ++column) b[k] -= a[k][column] * b[column];
    b[k] /= a[k][k];
  }
}

class UniPc final : public MultistepScheduler {
 public:
  UniPc(const SchedulerConfig& config, const SamplerOptions& options)
      : MultistepScheduler(config, options, {.clipped = false, .last_repeated = true}),
        order_(static_cast<size_t>(config.integer("solver_order", 2, 1, kMaxOrder))),
        data_(config.boolean("predict_x0", true)),
        // Names of other solvers stand for the nearest one here, as in the reference.
        bh1_(config.choice("solver_type", "bh2", {"bh1", "bh2", "midpoint", "heun", "logrho"}) == "bh1"),
        lower_order_final_(config.boolean("lower_order_final", true)),
        uncorrected_(config.whole_numbers("disable_corrector")) {
    if (config.has("solver_p"))
      fail(ErrorCode::unsupported, "scheduler_config.json: solver_p: expected null, found another scheduler");
  }

 private:
  void update(const StepInput& in, std::span<float> sample) override {
    integrand(data_, in, sample, newest_);
    const bool off = std::find(uncorrected_.begin(), uncorrected_.end(), in.i - 1) != uncorrected_.end();
    if (outputs_.count() > 0 && !off) step(in.i - 1, step_order_, last_, &newest_, sample);
    outputs_.push(newest_);
    step_order_ = std::min(order_, outputs_.count());
    if (lower_order_final_) step_order_ = std::min(step_order_, static_cast<size_t>(last() - in.i) + 1);
    last_.assign(sample.begin(), sample.end());
    step(in.i, step_order_, last_, nullptr, sample);
  }

  // to := the sample at the end of iteration i, from the one at its beginning; `ahead`: the output at its end.
  void step(int i, size_t order, const std::vector<float>& from, const std::vector<float>* ahead, std::span<float> to) {
    const Level t = level(i + 1), s0 = level(i);
    const float h = t.lambda - s0.lambda;
    if (!std::isfinite(h)) {  // the end: the clean sample, where the reference divides by zero in some settings
      const std::vector<float>& m0 = outputs_[0];
      for (size_t j = 0; j < to.size(); ++j) to[j] = data_ ? m0[j] : (from[j] - s0.sigma * m0[j]) / s0.alpha;
      return;
    }
    if (h == 0) {  // a level that repeats
      std::copy(from.begin(), from.end(), to.begin());
      return;
    }
    const float k = data_ ? -h : h, phi = std::expm1(k), b = bh1_ ? k : phi;
    Vector r{};
    for (size_t m = 1; m < order; ++m) r[m - 1] = (level(i - static_cast<int>(m)).lambda - s0.lambda) / h;
    r[order - 1] = 1;
    const size_t unknowns = ahead ? order : order - 1;
    const Vector rho = weights(r, unknowns, k, phi, b);

    const float c = data_ ? t.sigma / s0.sigma : t.alpha / s0.alpha, w = data_ ? t.alpha : t.sigma;
    const float of_m0 = w * phi, of_sum = w * b;
    const float* m0 = outputs_[0].data();
    sum_.assign(to.size(), 0.0f);
    for (size_t m = 1; m < order; ++m) {
      const float* mi = outputs_[m].data();
      for (size_t j = 0; j < sum_.size(); ++j) sum_[j] += rho[m - 1] * ((mi[j] - m0[j]) / r[m - 1]);
    }
    if (ahead)
      for (size_t j = 0; j < sum_.size(); ++j) sum_[j] += rho[order - 1] * ((*ahead)[j] - m0[j]);
    for (size_t j = 0; j < to.size(); ++j) to[j] = c * from[j] - of_m0 * m0[j] - of_sum * sum_[j];
  }

  // ρ for the first n of the nodes r. A single one takes the limit for small steps, as published.
  static Vector weights(const Vector& r, size_t n, float k, float phi, float b) {
    Vector rho{};
    if (n == 1) return {0.5f};
    std::array<Vector, kMaxOrder> matrix{};
    float moment = phi / k - 1.0f, factorial = 1;
    for (size_t row = 0; row < n; ++row) {
      for (size_t m = 0; m < n; ++m) matrix[row][m] = row == 0 ? 1.0f : matrix[row - 1][m] * r[m];
      rho[row] = moment * factorial / b;
      factorial *= static_cast<float>(row + 2);
      moment = moment / k - 1.0f / factorial;
    }
    solve_linear(matrix, rho, n);
    return rho;
  }

  size_t order_;
  bool data_, bh1_, lower_order_final_;
  std::vector<int> uncorrected_;  // iterations whose step is not corrected
  Outputs outputs_{order_};
  std::vector<float> newest_, last_, sum_;  // last_: the sample that the step under way began from
  size_t step_order_ = 1;                   // of that step
};

}  // namespace

std::unique_ptr<Scheduler> make_unipc(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<UniPc>(config, options);
}

}  // namespace easel::sampling
