// Zhang & Chen 2022 (tAB-DEIS) in ρ = σ/α: x'/α' = x/α + Σ_j c_j·m_j, c_j the integral over the step of the Lagrange
// polynomial in ln ρ through the last noise predictions m. In float32 and in the order of operations of the reference:
// the antiderivatives lose digits to cancellation, and a better quadrature would not be equal.
#include <array>
#include <cmath>

#include "base/fail.h"
#include "sampling/multistep.h"
#include "sampling/samplers.h"
#include "sampling/sigmas.h"

namespace easel::sampling {

namespace {

// ∫ (ln t − ln c)/(ln b − ln c) dt
float antiderivative(float t, float b, float c) {
  return t * (-log_f32(c) + log_f32(t) - 1.0f) / (log_f32(b) - log_f32(c));
}

// ∫ (ln t − ln c)(ln t − ln d)/((ln b − ln c)(ln b − ln d)) dt
float antiderivative(float t, float b, float c, float d) {
  const float lt = log_f32(t), lb = log_f32(b), lc = log_f32(c), ld = log_f32(d);
  return t * (lc * (ld - lt + 1.0f) - ld * lt + ld + lt * lt - 2.0f * lt + 2.0f) / ((lb - lc) * (lb - ld));
}

class Deis final : public MultistepScheduler {
 public:
  Deis(const SchedulerConfig& config, const SamplerOptions& options)
      : MultistepScheduler(
            config, options,
            {.schedule = ScheduleKind::no_rescale, .clipped = false, .final_sigmas = false, .last_repeated = true}),
        order_(static_cast<size_t>(config.integer("solver_order", 2, 1, 3))),
        lower_order_final_(config.boolean("lower_order_final", true)) {
    config.choice("algorithm_type", "deis", {"deis", "dpmsolver", "dpmsolver++"});
    config.choice("solver_type", "logrho", {"logrho", "midpoint", "heun", "bh1", "bh2"});
  }

 private:
  void update(const StepInput& in, std::span<float> sample) override {
    const bool few = lower_order_final_ && timesteps_.size() < 15;
    clean_sample(in, sample, newest_);
    const Level s0 = level(in.i), t = level(in.i + 1);
    for (size_t j = 0; j < newest_.size(); ++j) newest_[j] = (sample[j] - s0.alpha * newest_[j]) / s0.sigma;
    outputs_.push(newest_);

    size_t order = std::min(order_, outputs_.count());
    if (few && in.i == last()) order = 1;
    if (few && in.i == last() - 1) order = std::min<size_t>(order, 2);
    const std::vector<float>& m0 = outputs_[0];
    if (order == 1) {
      const float c = t.alpha / s0.alpha, c0 = t.sigma * (std::exp(t.lambda - s0.lambda) - 1.0f);
      for (size_t j = 0; j < sample.size(); ++j) sample[j] = c * sample[j] - c0 * m0[j];
      return;
    }
    const auto rho = [](const Level& l) { return l.sigma / l.alpha; };
    const float to = rho(t), r0 = rho(s0), r1 = rho(level(in.i - 1));
    const std::vector<float>& m1 = outputs_[1];
    if (order == 2) {
      const float c0 = antiderivative(to, r0, r1) - antiderivative(r0, r0, r1);
      const float c1 = antiderivative(to, r1, r0) - antiderivative(r0, r1, r0);
      for (size_t j = 0; j < sample.size(); ++j) sample[j] = t.alpha * (sample[j] / s0.alpha + c0 * m0[j] + c1 * m1[j]);
      return;
    }
    const float r2 = rho(level(in.i - 2));
    const std::vector<float>& m2 = outputs_[2];
    const float c0 = antiderivative(to, r0, r1, r2) - antiderivative(r0, r0, r1, r2);
    const float c1 = antiderivative(to, r1, r2, r0) - antiderivative(r0, r1, r2, r0);
    const float c2 = antiderivative(to, r2, r0, r1) - antiderivative(r0, r2, r0, r1);
    for (size_t j = 0; j < sample.size(); ++j)
      sample[j] = t.alpha * (sample[j] / s0.alpha + c0 * m0[j] + c1 * m1[j] + c2 * m2[j]);
  }

  size_t order_;
  bool lower_order_final_;
  Outputs outputs_{order_};
  std::vector<float> newest_;
};

}  // namespace

std::unique_ptr<Scheduler> make_deis(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<Deis>(config, options);
}

}  // namespace easel::sampling
