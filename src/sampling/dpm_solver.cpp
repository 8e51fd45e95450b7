// With levels x = α·x0 + σ·noise, λ = ln α − ln σ and h = λ' − λ, the linear part of the ODE is solved exactly and the
// network's part expanded around the newest outputs: D0 = m0, D1 and D2 its divided differences. "++" integrates the
// predicted clean sample, the others the predicted noise; the SDE variants add the noise of the exact transition.
#include <cmath>

#include "base/fail.h"
#include "sampling/edm.h"
#include "sampling/multistep.h"
#include "sampling/samplers.h"

namespace easel::sampling {

namespace {

class DpmSolver : public MultistepScheduler {
 public:
  DpmSolver(const SchedulerConfig& config, const SamplerOptions& options)
      : MultistepScheduler(config, options, {.lu = true, .rounds_cosine = false}), order_(order_of(config)) {
    read(config);
    config.optional_choice("variance_type", {"learned", "learned_range", "fixed_small", "fixed_small_log",
                                             "fixed_large", "fixed_large_log"});
  }

 protected:
  // Levels are the caller's.
  explicit DpmSolver(const SchedulerConfig& config) : MultistepScheduler(config), order_(order_of(config)) {
    read(config);
  }

 private:
  static size_t order_of(const SchedulerConfig& config) {
    return static_cast<size_t>(config.integer("solver_order", 2, 1, 3));
  }

  void read(const SchedulerConfig& config) {
    lower_order_final_ = config.boolean("lower_order_final", true);
    euler_at_final_ = config.boolean("euler_at_final", false);
    const std::string algorithm = config.choice(
        "algorithm_type", "dpmsolver++", {"dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver", "deis"});
    data_ = algorithm != "dpmsolver" && algorithm != "sde-dpmsolver";
    sde_ = algorithm.starts_with("sde-");
    // Names of other solvers stand for the nearest one here, as in the reference.
    heun_ = config.choice("solver_type", "midpoint", {"midpoint", "heun", "logrho", "bh1", "bh2"}) == "heun";
    final_zero_ = config.choice("final_sigmas_type", "zero", {"zero", "sigma_min"}) == "zero";
    if (!data_ && final_zero_)
      fail(ErrorCode::unsupported,
           "scheduler_config.json: final_sigmas_type: expected sigma_min with algorithm_type {}, found zero",
           algorithm);
    if (!data_ && sde_ && order_ == 3)
      fail(ErrorCode::unsupported,
           "scheduler_config.json: solver_order: expected 1 or 2 with algorithm_type {}, found 3", algorithm);
  }

  void update(const StepInput& in, std::span<float> sample) override {
    const bool few = lower_order_final_ && timesteps_.size() < 15;
    const bool first_at_end = in.i == last() && (euler_at_final_ || few || final_zero_);
    const bool second_at_end = in.i == last() - 1 && few;
    integrand(data_, in, sample, newest_);
    outputs_.push(newest_);
    noise_.resize(sde_ ? sample.size() : 0);
    if (sde_) in.noise.randn(noise_);

    size_t order = std::min(order_, outputs_.count());
    if (first_at_end) order = 1;
    if (second_at_end) order = std::min<size_t>(order, 2);
    solve(in.i, order, sample);
  }

  // sample := c·sample + c0·D0 + c1·D1 + c2·D2 + cn·noise
  void solve(int i, size_t order, std::span<float> sample) {
    const Level t = level(i + 1), s0 = level(i);
    const float h = t.lambda - s0.lambda;
    if (h == 0) return;  // a level that repeats: the reference divides by it
    float c, c0, c1 = 0, c2 = 0, cn = 0;
    // e: how far the exact solution moves; with it the weights of the first and second differences, in the order of
    // operations of the reference.
    if (data_) {
      const float k = sde_ ? -2.0f * h : -h;
      const float e = std::exp(k) - 1.0f;  // −(1 − e^k)
      c = sde_ ? t.sigma / s0.sigma * std::exp(-h) : t.sigma / s0.sigma;
      c0 = -(t.alpha * e);
      c1 = order == 2 && !heun_ ? 0.5f * c0 : sde_ ? t.alpha * (-e / k + 1.0f) : t.alpha * (e / h + 1.0f);
      c2 = sde_ ? t.alpha * ((-e + k) / (k * k) - 0.5f) : -(t.alpha * ((e + h) / (h * h) - 0.5f));
      if (sde_) cn = t.sigma * std::sqrt(1.0f - std::exp(k));
    } else {
      const float e = std::exp(h) - 1.0f;
      c = t.alpha / s0.alpha;
      c0 = -(t.sigma * e);
      c1 = order == 2 && !heun_ ? 0.5f * c0 : -(t.sigma * (e / h - 1.0f));
      c2 = -(t.sigma * ((e - h) / (h * h) - 0.5f));
      if (sde_) {
        c0 *= 2.0f;
        c1 *= 2.0f;
        cn = t.sigma * std::sqrt(std::exp(2.0f * h) - 1.0f);
      }
    }
    const size_t n = sample.size();
    const std::vector<float>& m0 = outputs_[0];
    if (order == 1) {
      for (size_t j = 0; j < n; ++j) sample[j] = c * sample[j] + c0 * m0[j];
    } else {
      const std::vector<float>& m1 = outputs_[1];
      const float r0 = (s0.lambda - level(i - 1).lambda) / h;
      if (order == 2) {
        for (size_t j = 0; j < n; ++j) sample[j] = c * sample[j] + c0 * m0[j] + c1 * ((1.0f / r0) * (m0[j] - m1[j]));
      } else {
        const std::vector<float>& m2 = outputs_[2];
        const float r1 = (level(i - 1).lambda - level(i - 2).lambda) / h;
        for (size_t j = 0; j < n; ++j) {
          const float d10 = (1.0f / r0) * (m0[j] - m1[j]), d11 = (1.0f / r1) * (m1[j] - m2[j]);
          const float d1 = d10 + (r0 / (r0 + r1)) * (d10 - d11);
          const float d2 = (1.0f / (r0 + r1)) * (d10 - d11);
          sample[j] = c * sample[j] + c0 * m0[j] + c1 * d1 + c2 * d2;
        }
      }
    }
    if (sde_)
      for (size_t j = 0; j < n; ++j) sample[j] = sample[j] + cn * noise_[j];
  }

  size_t order_;
  bool lower_order_final_ = true, euler_at_final_ = false;
  bool data_ = true;  // dpmsolver++: integrate the clean sample
  bool sde_ = false, heun_ = false, final_zero_ = true;
  Outputs outputs_{order_};
  std::vector<float> newest_, noise_;
};

// The same over σ itself, for networks with the inputs and outputs of EDM.
class EdmDpmSolver final : public DpmSolver {
 public:
  EdmDpmSolver(const SchedulerConfig& config, const SamplerOptions& options)
      : DpmSolver(checked(config)), edm_(EdmNetwork::from(config)) {
    sigmas_ = edm_sigmas(config, options.steps, false);
    for (int i = 0; i < options.steps; ++i) timesteps_.push_back(EdmNetwork::timestep(sigmas_[static_cast<size_t>(i)]));
    init_noise_sigma_ = edm_init_noise_sigma(config);
  }

 private:
  static const SchedulerConfig& checked(const SchedulerConfig& config) {
    config.choice("algorithm_type", "dpmsolver++", {"dpmsolver++", "sde-dpmsolver++", "deis"});
    return config;
  }
  Level level(int i) const override { return Level::exploding(sigmas_[static_cast<size_t>(i)]); }
  float input_divisor(int i) const override { return edm_.input_divisor(sigmas_[static_cast<size_t>(i)]); }
  void clean_sample(const StepInput& in, std::span<const float> sample, std::vector<float>& out) override {
    out.resize(sample.size());
    edm_.clean_sample(sigmas_[static_cast<size_t>(in.i)], sample, in.output, out);
    if (thresholding_.enabled) thresholding_.apply(out, in.shape);
  }

  EdmNetwork edm_;
};

}  // namespace

std::unique_ptr<Scheduler> make_dpm_solver(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<DpmSolver>(config, options);
}

std::unique_ptr<Scheduler> make_edm_dpm_solver(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<EdmDpmSolver>(config, options);
}

}  // namespace easel::sampling
