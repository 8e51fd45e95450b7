// With α = 1/√(σ²+1), s = σ·α, λ = ln α − ln s and h = λ' − λ, the linear part of the ODE is solved exactly and the
// network's part expanded around the newest outputs: D0 = m0, D1 and D2 its divided differences. "++" integrates the
// predicted clean sample, the others the predicted noise; the SDE variants add the noise of the exact transition.
#include <algorithm>
#include <cmath>
#include <deque>

#include "base/fail.h"
#include "sampling/prediction.h"
#include "sampling/samplers.h"
#include "sampling/schedule.h"
#include "sampling/sigmas.h"

namespace easel::sampling {

namespace {

struct Level {  // one noise level in the variance-preserving form, float32
  float alpha, sigma, lambda;
  explicit Level(float s) {
    alpha = 1.0f / std::sqrt(s * s + 1.0f);
    sigma = s * alpha;
    lambda = std::log(alpha) - std::log(sigma);
  }
};

class DpmSolver final : public Scheduler {
 public:
  DpmSolver(const SchedulerConfig& config, const SamplerOptions& options)
      : order_(static_cast<int>(config.integer("solver_order", 2, 1, 3))),
        prediction_(prediction_of(config, true)),
        thresholding_(Thresholding::from(config)),
        lower_order_final_(config.boolean("lower_order_final", true)),
        euler_at_final_(config.boolean("euler_at_final", false)) {
    read_algorithm(config);
    config.optional_choice("variance_type", {"learned", "learned_range", "fixed_small", "fixed_small_log",
                                             "fixed_large", "fixed_large_log"});
    const NoiseSchedule schedule = make_noise_schedule(config, ScheduleKind::plain, true);
    timesteps_ = base_timesteps(config, schedule, options.steps);
    const std::vector<float> all = schedule.sigmas();
    const SigmaSpacing spacing = sigma_spacing_of(config, true);
    std::vector<double> sigmas;
    if (spacing == SigmaSpacing::normal) {
      for (const double t : timesteps_) sigmas.push_back(interpolate(t, all));
    } else {
      const std::vector<float> log_all = log_f32(all);
      constexpr double largest = 1e6, smallest = 1e-6;
      double low = all.front(), high = all.back();
      if (spacing != SigmaSpacing::lu) {
        low = config.optional_number("sigma_min", smallest, largest).value_or(low);
        high = config.optional_number("sigma_max", smallest, largest).value_or(high);
      }
      sigmas = spaced_sigmas(spacing, {low, high}, options.steps);
      const bool rounded = (spacing == SigmaSpacing::karras || spacing == SigmaSpacing::lu) &&
                           config.choice("beta_schedule", "linear", {"linear", "scaled_linear", "squaredcos_cap_v2"}) !=
                               "squaredcos_cap_v2";
      timesteps_.clear();
      for (const double sigma : sigmas) {
        const double t = sigma_to_timestep(sigma, log_all);
        timesteps_.push_back(std::trunc(rounded ? std::nearbyint(t) : t));
      }
    }
    sigmas_ = with_final_sigma(sigmas, final_zero_ ? "zero" : "sigma_min", all.front());
  }

 private:
  void read_algorithm(const SchedulerConfig& config) {
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
    if (config.boolean("use_flow_sigmas", false))
      fail(ErrorCode::unsupported, "scheduler_config.json: use_flow_sigmas: expected false, found true");
  }

  static std::vector<double> base_timesteps(const SchedulerConfig& config, const NoiseSchedule& schedule, int steps) {
    // Timesteps whose λ lies below lambda_min_clipped are left out (needed for squaredcos_cap_v2).
    const auto clip = static_cast<float>(config.number("lambda_min_clipped", -HUGE_VAL, -HUGE_VAL, HUGE_VAL));
    int64_t last = schedule.size();
    while (last > 0) {
      const float a = schedule.alphas_cumprod[static_cast<size_t>(last - 1)];
      if (std::log(std::sqrt(a)) - std::log(std::sqrt(1.0f - a)) >= clip) break;
      --last;
    }
    if (last < 1)
      fail(ErrorCode::io, "scheduler_config.json: lambda_min_clipped: expected to leave a timestep, found {}", clip);
    const std::string spacing = spacing_of(config, "linspace");
    const int64_t offset = steps_offset_of(config);
    std::vector<double> out;
    if (spacing == "linspace") {
      out = linspace(0, static_cast<double>(last - 1), steps + 1);
      std::reverse(out.begin(), out.end());
      out.pop_back();
      for (double& t : out) t = std::nearbyint(t);
    } else if (spacing == "leading") {
      const int64_t ratio = last / (steps + 1);
      for (int64_t i = steps; i >= 1; --i) out.push_back(static_cast<double>(i * ratio + offset));
    } else {
      out = arange_down(static_cast<double>(last), static_cast<double>(schedule.size()) / steps);
      for (double& t : out) t = std::nearbyint(t) - 1;
      while (out.size() > 1 && out.back() < 0) out.pop_back();
    }
    return out;
  }

  // What the solver integrates: the clean sample, or the noise.
  std::vector<float> convert(const StepInput& in, std::span<const float> sample) const {
    const Level level(sigmas_[static_cast<size_t>(in.i)]);
    const float a = level.alpha, s = level.sigma;
    std::vector<float> out(sample.size());
    if (data_) {
      predict_original(prediction_, a, s, sample, in.output, out);
      if (thresholding_.enabled) thresholding_.apply(out, in.shape);
      return out;
    }
    for (size_t j = 0; j < out.size(); ++j)
      out[j] = prediction_ == Prediction::epsilon  ? in.output[j]
               : prediction_ == Prediction::sample ? (sample[j] - a * in.output[j]) / s
                                                   : a * in.output[j] + s * sample[j];
    if (thresholding_.enabled) {
      std::vector<float> original(sample.size());
      for (size_t j = 0; j < out.size(); ++j) original[j] = (sample[j] - s * out[j]) / a;
      thresholding_.apply(original, in.shape);
      for (size_t j = 0; j < out.size(); ++j) out[j] = (sample[j] - a * original[j]) / s;
    }
    return out;
  }

  void update(const StepInput& in, std::span<float> sample) override {
    const auto last = static_cast<int>(timesteps_.size()) - 1;
    const bool few = lower_order_final_ && timesteps_.size() < 15;
    const bool first_at_end = in.i == last && (euler_at_final_ || few || final_zero_);
    const bool second_at_end = in.i == last - 1 && few;
    outputs_.push_front(convert(in, sample));
    if (outputs_.size() > static_cast<size_t>(order_)) outputs_.pop_back();
    noise_.resize(sde_ ? sample.size() : 0);
    if (sde_) in.noise.randn(noise_);

    int order = std::min(order_, static_cast<int>(outputs_.size()));
    if (first_at_end) order = 1;
    if (second_at_end) order = std::min(order, 2);
    solve(static_cast<size_t>(in.i), order, sample);
  }

  // sample := c·sample + c0·D0 + c1·D1 + c2·D2 + cn·noise
  void solve(size_t i, int order, std::span<float> sample) {
    const Level t(sigmas_[i + 1]), s0(sigmas_[i]);
    const float h = t.lambda - s0.lambda;
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
      const Level s1(sigmas_[i - 1]);
      const std::vector<float>& m1 = outputs_[1];
      const float r0 = (s0.lambda - s1.lambda) / h;
      if (order == 2) {
        for (size_t j = 0; j < n; ++j) sample[j] = c * sample[j] + c0 * m0[j] + c1 * ((1.0f / r0) * (m0[j] - m1[j]));
      } else {
        const Level s2(sigmas_[i - 2]);
        const std::vector<float>& m2 = outputs_[2];
        const float r1 = (s1.lambda - s2.lambda) / h;
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

  std::pair<float, float> noise_mix(int i) const override {
    const Level level(sigmas_[static_cast<size_t>(i)]);
    return {level.alpha, level.sigma};
  }

  int order_;
  Prediction prediction_;
  Thresholding thresholding_;
  bool lower_order_final_, euler_at_final_;
  bool data_ = true;  // dpmsolver++: integrate the clean sample
  bool sde_ = false, heun_ = false, final_zero_ = true;
  std::vector<float> sigmas_;               // one more than timesteps
  std::deque<std::vector<float>> outputs_;  // newest first, at most order_
  std::vector<float> noise_;
};

}  // namespace

std::unique_ptr<Scheduler> make_dpm_solver(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<DpmSolver>(config, options);
}

}  // namespace easel::sampling
