// Adams–Bashforth as in solvers/adams.cpp on ε = β·x + α·m, for networks whose output m is the direction along the
// quarter circle: x' = α'·(x − β·ε̂)/α + β'·ε̂.
#include <array>
#include <cmath>

#include "base/fail.h"
#include "sampling/multistep.h"
#include "sampling/samplers.h"

namespace easel::sampling {

namespace {

class Ipndm final : public Scheduler {
 public:
  Ipndm(const SchedulerConfig& config, const SamplerOptions& options) {
    betas_ = config.floats("trained_betas", 100000);
    const auto count = static_cast<size_t>(options.steps);
    if (betas_.empty()) {
      betas_ = linspace_f32(1, 0, options.steps + 1);
      for (float& u : betas_) u = std::sin(u * static_cast<float>(M_PI) / 2);
      for (float& u : betas_) u = u * u;
      betas_.back() = 0;
    } else if (betas_.size() != count + 1) {
      fail(ErrorCode::invalid_argument,
           "--steps {}: expected one less than trained_betas of scheduler_config.json, found {} of them", options.steps,
           betas_.size());
    }
    for (const float beta : betas_) alphas_.push_back(std::sqrt(1.0f - beta * beta));
    for (size_t i = 0; i < count; ++i)
      timesteps_.push_back(std::atan2(betas_[i], alphas_[i]) / static_cast<float>(M_PI) * 2.0f);
  }

 private:
  std::pair<float, float> noise_mix(int i) const override {
    return {alphas_[static_cast<size_t>(i)], betas_[static_cast<size_t>(i)]};
  }

  void update(const StepInput& in, std::span<float> sample) override {
    const auto [alpha, beta] = noise_mix(in.i);
    const auto [next_alpha, next_beta] = noise_mix(in.i + 1);
    newest_.resize(sample.size());
    for (size_t j = 0; j < sample.size(); ++j) newest_[j] = sample[j] * beta + in.output[j] * alpha;
    outputs_.push(newest_);
    const size_t order = outputs_.count();
    const float divisor = std::max(alpha, 1e-8f);
    for (size_t j = 0; j < sample.size(); ++j) {
      const auto e = [&](size_t k) { return outputs_[k][j]; };
      const float mean = order == 1   ? e(0)
                         : order == 2 ? (3 * e(0) - e(1)) / 2
                         : order == 3 ? (23 * e(0) - 16 * e(1) + 5 * e(2)) / 12
                                      : 1.0f / 24 * (55 * e(0) - 59 * e(1) + 37 * e(2) - 9 * e(3));
      sample[j] = next_alpha * ((sample[j] - beta * mean) / divisor) + mean * next_beta;
    }
  }

  std::vector<float> alphas_, betas_;  // one more than timesteps
  Outputs outputs_{4};
  std::vector<float> newest_;
};

}  // namespace

std::unique_ptr<Scheduler> make_ipndm(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<Ipndm>(config, options);
}

}  // namespace easel::sampling
