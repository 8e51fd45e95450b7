// Steps in blocks of up to three: each sample of a block is solved anew from the block's first, with divided
// differences of the outputs in the block; D0 is the block's first output, h reaches from there.
#include <cmath>

#include "base/fail.h"
#include "sampling/multistep.h"
#include "sampling/samplers.h"

namespace easel::sampling {

namespace {

class DpmSinglestep final : public MultistepScheduler {
 public:
  DpmSinglestep(const SchedulerConfig& config, const SamplerOptions& options)
      : MultistepScheduler(config, options, {.schedule = ScheduleKind::no_rescale, .spacing = false}),
        order_(static_cast<size_t>(config.integer("solver_order", 2, 1, 3))) {
    const std::string algorithm =
        config.choice("algorithm_type", "dpmsolver++", {"dpmsolver++", "sde-dpmsolver++", "dpmsolver", "deis"});
    data_ = algorithm != "dpmsolver";
    sde_ = algorithm.starts_with("sde-");
    heun_ = config.choice("solver_type", "midpoint", {"midpoint", "heun", "logrho", "bh1", "bh2"}) == "heun";
    const bool zero = config.choice("final_sigmas_type", "zero", {"zero", "sigma_min"}) == "zero";
    if (!data_ && zero)
      fail(ErrorCode::unsupported,
           "scheduler_config.json: final_sigmas_type: expected sigma_min with algorithm_type {}, found zero",
           algorithm);
    // As the reference: what does not divide into blocks, and an end at σ = 0, need lower orders.
    const size_t steps = timesteps_.size();
    const bool lower = config.boolean("lower_order_final", false) || steps % order_ != 0 || zero;
    const size_t whole = steps % order_ == 0 && lower ? steps / order_ - 1 : steps / order_;
    for (size_t block = 0; block < whole; ++block)
      for (size_t k = 1; k <= order_; ++k) orders_.push_back(k);
    for (size_t k = 1; orders_.size() < steps; ++k) orders_.push_back(orders_.size() + 1 == steps ? 1 : k);
    if (order_ == 3 && steps % 3 == 2) orders_.back() = 2;
    if (zero) orders_.back() = 1;
  }

 private:
  void update(const StepInput& in, std::span<float> sample) override {
    integrand(data_, in, sample, newest_);
    outputs_.push(newest_);
    noise_.resize(sde_ ? sample.size() : 0);
    if (sde_) in.noise.randn(noise_);
    const size_t order = std::min(orders_[static_cast<size_t>(in.i)], outputs_.count());
    if (order == 1) first_.assign(sample.begin(), sample.end());
    solve(in.i, order, sample);
  }

  // sample := c·first + c0·D0 + c1·D1 + c2·D2 + cn·noise, over the step from the block's beginning.
  void solve(int i, size_t order, std::span<float> sample) {
    const int begin = i + 1 - static_cast<int>(order);
    const Level t = level(i + 1), s = level(begin);
    const float h = t.lambda - s.lambda;
    // k, e: as in dpm_solver.cpp; the difference weights are g·(e/k ∓ 1) and g·((e ∓ k)/k² − ½).
    const float k = !data_ ? h : sde_ ? -2.0f * h : -h, e = std::exp(k) - 1.0f, g = data_ ? t.alpha : t.sigma;
    const float c = data_ ? (sde_ ? t.sigma / s.sigma * std::exp(-h) : t.sigma / s.sigma) : t.alpha / s.alpha;
    const float c0 = -(g * e);
    float c1, c2;
    if (!data_) {
      c1 = -(g * (e / h - 1.0f));
      c2 = -(g * ((e - h) / (h * h) - 0.5f));
    } else if (sde_) {
      c1 = g * (-e / k + 1.0f);
      c2 = g * ((-e + k) / (k * k) - 0.5f);
    } else {
      c1 = g * (e / h + 1.0f);
      c2 = -(g * ((e + h) / (h * h) - 0.5f));
    }
    const size_t n = sample.size();
    const std::vector<float>&m0 = outputs_[0], &d0 = outputs_[order - 1];
    if (order == 1) {
      for (size_t j = 0; j < n; ++j) sample[j] = c * first_[j] + c0 * d0[j];
    } else if (order == 2) {
      if (!heun_) c1 = 0.5f * c0;
      const float r0 = (level(i).lambda - s.lambda) / h;
      for (size_t j = 0; j < n; ++j) sample[j] = c * first_[j] + c0 * d0[j] + c1 * ((1.0f / r0) * (m0[j] - d0[j]));
    } else {
      const std::vector<float>& m1 = outputs_[1];
      const float r0 = (level(i).lambda - s.lambda) / h, r1 = (level(i - 1).lambda - s.lambda) / h;
      for (size_t j = 0; j < n; ++j) {
        const float inner = (1.0f / r1) * (m1[j] - d0[j]), outer = (1.0f / r0) * (m0[j] - d0[j]);
        const float d1 = heun_ ? (r0 * inner - r1 * outer) / (r0 - r1) : outer;
        const float d2 = heun_ ? 2.0f * (outer - inner) / (r0 - r1) : 0.0f;
        sample[j] = c * first_[j] + c0 * d0[j] + c1 * d1 + c2 * d2;
      }
    }
    if (!sde_) return;
    const float cn = t.sigma * std::sqrt(1.0f - std::exp(k));
    for (size_t j = 0; j < n; ++j) sample[j] = sample[j] + cn * noise_[j];
  }

  size_t order_;
  bool data_ = true, sde_ = false, heun_ = false;
  std::vector<size_t> orders_;  // of every iteration: its place in its block
  Outputs outputs_{order_};
  std::vector<float> newest_, noise_, first_;  // first_: the sample that the block began from
};

}  // namespace

std::unique_ptr<Scheduler> make_dpm_singlestep(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<DpmSinglestep>(config, options);
}

}  // namespace easel::sampling
