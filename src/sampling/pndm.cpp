// Every update goes from ᾱ to ᾱ' by formula 9 of the paper:
// x' = √(ᾱ'/ᾱ) · x − (ᾱ' − ᾱ) · ε / (ᾱ·√(1−ᾱ') + √(ᾱ·(1−ᾱ)·ᾱ')), with ε combined from several outputs.
#include <cmath>

#include "base/fail.h"
#include "sampling/multistep.h"
#include "sampling/prediction.h"
#include "sampling/samplers.h"
#include "sampling/schedule.h"

namespace easel::sampling {

namespace {

class Pndm final : public Scheduler {
 public:
  Pndm(const SchedulerConfig& config, const SamplerOptions& options)
      : schedule_(make_noise_schedule(config, ScheduleKind::no_rescale, false)),
        prediction_(prediction_of(config, false)),
        stride_(schedule_.size() / options.steps) {
    final_alpha_bar_ = config.boolean("set_alpha_to_one", false) ? 1.0f : schedule_.alphas_cumprod.front();
    const std::vector<double> all =
        spaced_timesteps(spacing_of(config, "leading"), schedule_.size(), options.steps, steps_offset_of(config));
    if (config.boolean("skip_prk_steps", false)) {
      // The second timestep comes twice: the first step is taken again with the mean of two outputs.
      timesteps_ = all;
      if (all.size() > 1) timesteps_.insert(timesteps_.begin() + 1, all[1]);
    } else {
      if (options.steps < 4)
        fail(ErrorCode::invalid_argument,
             "--steps: sampler pndm with Runge-Kutta steps (skip_prk_steps false): expected at least 4, found {}",
             options.steps);
      // Three full Runge-Kutta steps of four calls each: t, t − δ/2 twice, and the next t.
      const int64_t half_stride = stride_ / 2;  // rounded down, as the reference does
      const auto half = static_cast<double>(half_stride);
      for (size_t k = 0; k < 3; ++k)
        for (const double t : {all[k], all[k + 1] + half, all[k + 1] + half, all[k + 1]}) timesteps_.push_back(t);
      prk_calls_ = 12;
      timesteps_.insert(timesteps_.end(), all.begin() + 3, all.end());
    }
    for (const double t : timesteps_) schedule_.alpha_bar(static_cast<int64_t>(t));
    if (prk_calls_ == 0 && timesteps_.size() > 1) schedule_.alpha_bar(static_cast<int64_t>(timesteps_[1]) + stride_);
  }

 private:
  void update(const StepInput& in, std::span<float> sample) override {
    // `call` counts calls, not iterations: a run may start late (image to image).
    const int call = calls_++;
    if (call < prk_calls_ && in.i == call)
      runge_kutta(in, call, sample);
    else
      multistep(in, call, sample);
  }

  void runge_kutta(const StepInput& in, int call, std::span<float> sample) {
    const auto t = static_cast<int64_t>(timesteps_[static_cast<size_t>(call)]);
    const int64_t previous = t - (call % 2 ? 0 : stride_ / 2);
    const int first_call = call / 4 * 4;
    const auto from = static_cast<int64_t>(timesteps_[static_cast<size_t>(first_call)]);
    std::vector<float>& output = output_;
    output.assign(in.output.begin(), in.output.end());
    const float weight = static_cast<float>(call % 4 == 0 || call % 4 == 3 ? 1.0 / 6 : 1.0 / 3);
    if (call % 4 == 0) {
      sum_.assign(output.size(), 0.0f);
      remember(output);
      start_.assign(sample.begin(), sample.end());
    }
    for (size_t j = 0; j < output.size(); ++j) sum_[j] = sum_[j] + weight * output[j];
    move(from, previous, start_, call % 4 == 3 ? sum_ : output, sample);
  }

  void multistep(const StepInput& in, int call, std::span<float> sample) {
    auto t = static_cast<int64_t>(timesteps_[static_cast<size_t>(in.i)]);
    int64_t previous = t - stride_;
    std::vector<float>&output = output_, &from = from_;
    output.assign(in.output.begin(), in.output.end());
    from.assign(sample.begin(), sample.end());
    if (call == 1) {
      previous = t;
      t += stride_;
    } else {
      remember(output);
    }
    // e(1) is the newest
    const auto e = [&](size_t k) -> const std::vector<float>& { return outputs_[k - 1]; };
    const size_t n = output.size();
    if (outputs_.count() == 1 && call == 0) {
      start_ = from;
    } else if (outputs_.count() == 1 && call == 1) {
      for (size_t j = 0; j < n; ++j) output[j] = (output[j] + e(1)[j]) / 2.0f;
      from = start_;
    } else if (outputs_.count() == 2) {
      for (size_t j = 0; j < n; ++j) output[j] = (3.0f * e(1)[j] - e(2)[j]) / 2.0f;
    } else if (outputs_.count() == 3) {
      for (size_t j = 0; j < n; ++j) output[j] = (23.0f * e(1)[j] - 16.0f * e(2)[j] + 5.0f * e(3)[j]) / 12.0f;
    } else if (outputs_.count() == 4) {
      constexpr float scale = static_cast<float>(1.0 / 24);
      for (size_t j = 0; j < n; ++j)
        output[j] = scale * (55.0f * e(1)[j] - 59.0f * e(2)[j] + 37.0f * e(3)[j] - 9.0f * e(4)[j]);
    }
    move(t, previous, from, output, sample);
  }

  void remember(const std::vector<float>& output) {
    newest_.assign(output.begin(), output.end());
    outputs_.push(newest_);
  }

  void move(int64_t t, int64_t previous, const std::vector<float>& from, const std::vector<float>& output,
            std::span<float> sample) const {
    const float alpha = schedule_.alpha_bar(t);
    const float alpha_previous = previous >= 0 ? schedule_.alpha_bar(previous) : final_alpha_bar_;
    const float beta = 1.0f - alpha, beta_previous = 1.0f - alpha_previous;
    const float a = std::sqrt(alpha), b = std::sqrt(beta);
    const float sample_factor = std::sqrt(alpha_previous / alpha);
    const float denominator = alpha * std::sqrt(beta_previous) + std::sqrt(alpha * beta * alpha_previous);
    const float difference = alpha_previous - alpha;
    for (size_t j = 0; j < sample.size(); ++j) {
      const float epsilon = prediction_ == Prediction::v ? a * output[j] + b * from[j] : output[j];
      sample[j] = sample_factor * from[j] - difference * epsilon / denominator;
    }
  }

  std::pair<float, float> noise_mix(int i) const override {
    return schedule_.noise_mix(static_cast<int64_t>(timesteps_[static_cast<size_t>(i)]));
  }

  NoiseSchedule schedule_;
  Prediction prediction_;
  int64_t stride_;
  float final_alpha_bar_ = 1.0f;
  int prk_calls_ = 0;
  int calls_ = 0;
  Outputs outputs_{4};
  std::vector<float> newest_, output_, from_;  // of the step under way
  std::vector<float> start_, sum_;             // of the Runge-Kutta step under way
};

}  // namespace

std::unique_ptr<Scheduler> make_pndm(const SchedulerConfig& config, const SamplerOptions& options) {
  return std::make_unique<Pndm>(config, options);
}

}  // namespace easel::sampling
