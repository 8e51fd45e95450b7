// Stochastic Adams as in solvers/sa_solver.cpp, in λ: x' = (σ'/σ)·e^(−τ²h)·x + Σ_j b_j·D_j + σ'·√(1 − e^(−2τ²h))·noise,
// b_j the integral of a Lagrange polynomial times e^((1+τ²)λ), by antiderivatives; or the same for the noise,
// x' = (α'/α)·x − Σ_j b_j·ε_j + τ·σ'·√(e^(2h) − 1)·noise. A predictor, and a corrector that takes the step again with
// the output at its end and the same noise. In float32 and in the order of operations of the reference: the
// antiderivatives lose digits to cancellation, and a better quadrature would not be equal.
#include <array>
#include <cmath>

#include "base/fail.h"
#include "sampling/multistep.h"
#include "sampling/samplers.h"

namespace easel::sampling {

namespace {

constexpr size_t kMaxOrder = 4;
using Vector = std::array<float, kMaxOrder>;

// Coefficients, highest power first, of the polynomial that is 1 at nodes[i] and 0 at the others of the first n.
Vector lagrange_polynomial(const Vector& nodes, size_t n, size_t i) {
  Vector others{};
  float denominator = 1;
  for (size_t k = 0, m = 0; k < n; ++k) {
    if (k == i) continue;
    others[m++] = nodes[k];
    denominator *= nodes[i] - nodes[k];
  }
  const auto [a, b, c, unused] = others;
  switch (n) {
    case 1: return {1};
    case 2: return {1 / denominator, -a / denominator};
    case 3: return {1 / denominator, (-a - b) / denominator, a * b / denominator};
    default:
      return {1 / denominator, (-a - b - c) / denominator, (a * b + a * c + b * c) / denominator,
              -a * b * c / denominator};
  }
}

// ∫ λⁿ·e^(speed·λ) dλ
float positive_moment(size_t n, float begin, float end, float speed) {
  const float s = speed * begin, e = speed * end, decay = std::exp(-(e - s));
  const auto p = [n](float x) {
    return n == 0 ? 1.0f : n == 1 ? x - 1 : n == 2 ? x * x - 2 * x + 2 : x * x * x - 3 * (x * x) + 6 * x - 6;
  };
  float power = speed;
  for (size_t k = 0; k < n; ++k) power *= speed;
  return std::exp(e) * (p(e) - p(s) * decay) / power;
}

// ∫ λⁿ·e^(−λ) dλ
float negative_moment(size_t n, float begin, float end) {
  const auto q = [n](float x) {
    return n == 0 ? 1.0f : n == 1 ? x + 1 : n == 2 ? x * x + 2 * x + 2 : x * x * x + 3 * (x * x) + 6 * x + 6;
  };
  return std::exp(-end) * (q(begin) * std::exp(end - begin) - q(end));
}

class SaSolver final : public MultistepScheduler {
 public:
  SaSolver(const SchedulerConfig& config, const SamplerOptions& options)
      : MultistepScheduler(config, options,
                           {.schedule = ScheduleKind::no_rescale, .final_sigmas = false, .last_repeated = true}),
        predictor_(static_cast<size_t>(config.integer("predictor_order", 2, 1, kMaxOrder))),
        corrector_(static_cast<size_t>(config.integer("corrector_order", 2, 1, kMaxOrder))),
        data_(predicts_data(config)),
        lower_order_final_(config.boolean("lower_order_final", true)),
        eta_(static_cast<float>(options.eta.value_or(1))) {
    if (config.has("tau_func"))
      fail(ErrorCode::unsupported, "scheduler_config.json: tau_func: expected null, found a function");
  }

 private:
  // Names of other solvers, in the configurations of other classes, stand for the prediction that they integrate.
  static bool predicts_data(const SchedulerConfig& config) {
    const std::string algorithm = config.choice("algorithm_type", "data_prediction",
                                                {"data_prediction", "noise_prediction", "dpmsolver++",
                                                 "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver", "deis"});
    return algorithm == "data_prediction" || algorithm.ends_with("++");
  }

  void update(const StepInput& in, std::span<float> sample) override {
    integrand(data_, in, sample, newest_);
    if (outputs_.count() > 0) step(in.i - 1, corrector_order_, &newest_, sample);
    outputs_.push(newest_);
    noise_.resize(sample.size());
    in.noise.randn(noise_);
    size_t order = predictor_;
    corrector_order_ = corrector_;
    if (lower_order_final_) {
      const auto left = static_cast<size_t>(last() - in.i) + 1;
      order = std::min(order, left);
      corrector_order_ = std::min(corrector_order_, left + 1);
    }
    order = std::min(order, outputs_.count());
    corrector_order_ = std::min(corrector_order_, outputs_.count() + 1);
    last_.assign(sample.begin(), sample.end());
    step(in.i, order, nullptr, sample);
  }

  float tau(int i) const {
    const double t = timesteps_[static_cast<size_t>(i)];
    return t >= 200 && t <= 800 ? eta_ : 0.0f;
  }

  // to := the sample at the end of iteration i, from last_ and noise_; `ahead`: the output at its end.
  void step(int i, size_t order, const std::vector<float>* ahead, std::span<float> to) {
    const Level t = level(i + 1), s0 = level(i);
    const float h = t.lambda - s0.lambda, tau2 = tau(i) * tau(i), speed = 1 + tau2;
    Vector nodes{}, b{};
    for (size_t k = 0; k < order; ++k) nodes[k] = level((ahead ? i + 1 : i) - static_cast<int>(k)).lambda;
    for (size_t k = 0; k < order; ++k) {
      const Vector polynomial = lagrange_polynomial(nodes, order, k);
      for (size_t j = 0; j < order; ++j)
        b[k] += polynomial[j] * (data_ ? positive_moment(order - 1 - j, s0.lambda, t.lambda, speed)
                                       : negative_moment(order - 1 - j, s0.lambda, t.lambda));
    }
    if (data_ && order == 2) {  // what makes it equal to DPM-Solver++(2M) and UniPC(1) without noise, as published
      const float moved = (h * speed - 1 + std::exp(speed * -h)) / (speed * speed);
      const float grown = std::exp(speed * t.lambda);
      const float extra = ahead ? grown * (h / 2 - moved / h) : grown * (h * h / 2 - moved) / (nodes[0] - nodes[1]);
      if (!ahead || h != 0) {
        b[0] += extra;
        b[1] -= extra;
      }
    }
    sum_.assign(to.size(), 0.0f);
    const float scale = data_ ? speed * t.sigma * std::exp(-tau2 * t.lambda) : -speed * t.alpha;
    for (size_t k = 0; k < order; ++k) {
      const std::vector<float>& d = !ahead ? outputs_[k] : k == 0 ? *ahead : outputs_[k - 1];
      const float weight = scale * b[k];
      for (size_t j = 0; j < sum_.size(); ++j) sum_[j] += weight * d[j];
    }
    const float c = data_ ? std::exp(-tau2 * h) * (t.sigma / s0.sigma) : t.alpha / s0.alpha;
    const float fresh =
        data_ ? t.sigma * std::sqrt(1 - std::exp(-2 * tau2 * h)) : tau(i) * t.sigma * std::sqrt(std::exp(2 * h) - 1);
    for (size_t j = 0; j < to.size(); ++j) to[j] = c * last_[j] + sum_[j] + fresh * noise_[j];
  }

  size_t predictor_, corrector_;
  bool data_, lower_order_final_;
  float eta_;
  Outputs outputs_{std::max(predictor_, corrector_ > 1 ? corrector_ - 1 : 1)};
  std::vector<float> newest_, last_, noise_, sum_;  // last_, noise_: of the step under way, at its beginning
  size_t corrector_order_ = 1;                      // of that step
};

}  // namespace

std::unique_ptr<Scheduler> make_sa_solver(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<SaSolver>(config, options);
}

}  // namespace easel::sampling
