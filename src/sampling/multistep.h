// What the schedulers over ln(α/σ) share: the levels of a run, and the network's output as what they integrate.
#pragma once

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "sampling/prediction.h"
#include "sampling/schedule.h"
#include "sampling/scheduler.h"

namespace easel::sampling {

/// A noise level of samples x = alpha·x0 + sigma·noise, float32; lambda = ln α − ln σ, infinite without noise.
struct Level {
  float alpha, sigma, lambda;
  /// Variance preserving: α = 1/√(s²+1), σ = s·α.
  static Level preserving(float s);
  /// Exploding: α = 1, σ = s.
  static Level exploding(float s);
};

/// What a class of diffusers reads and does, beside what all of them do.
struct MultistepRules {
  ScheduleKind schedule = ScheduleKind::plain;
  bool spacing = true;         ///< has timestep_spacing and steps_offset; else linspace
  bool clipped = true;         ///< has lambda_min_clipped
  bool lu = false;             ///< has use_lu_lambdas
  bool rounds_cosine = true;   ///< karras timesteps are rounded with squaredcos_cap_v2 too
  bool final_sigmas = true;    ///< has final_sigmas_type (zero or sigma_min); else never zero
  bool last_repeated = false;  ///< sigma_min of respaced levels is the last of them, not the schedule's first
};

struct MultistepLevels {
  std::vector<double> timesteps;
  std::vector<float> sigmas;  ///< one more
};

/// The levels of `steps` iterations: linspace, leading or trailing timesteps out of steps + 1, or respaced by
/// use_karras_sigmas and its like. Throws io, unsupported as SchedulerConfig does.
MultistepLevels multistep_levels(const SchedulerConfig& config, int steps, const MultistepRules& rules);

/// The newest outputs of a multistep scheduler. Memory is taken when they first come.
class Outputs {
 public:
  explicit Outputs(size_t length) : all_(length) {}
  /// `newest` becomes [0]; it is given the oldest one's memory.
  void push(std::vector<float>& newest) {
    std::rotate(all_.begin(), all_.end() - 1, all_.end());
    all_.front().swap(newest);
    count_ = std::min(count_ + 1, all_.size());
  }
  size_t count() const { return count_; }
  const std::vector<float>& operator[](size_t age) const { return all_[age]; }

 private:
  std::vector<std::vector<float>> all_;
  size_t count_ = 0;
};

/// Levels and conversions of such a scheduler.
class MultistepScheduler : public Scheduler {
 protected:
  MultistepScheduler(const SchedulerConfig& config, const SamplerOptions& options, const MultistepRules& rules);
  /// Levels of its own: sets timesteps_ and sigmas_ itself.
  explicit MultistepScheduler(const SchedulerConfig& config);

  virtual Level level(int i) const { return Level::preserving(sigmas_[static_cast<size_t>(i)]); }
  /// out := the clean sample, thresholded where configured; or the noise that goes with it.
  virtual void clean_sample(const StepInput& in, std::span<const float> sample, std::vector<float>& out);
  void noise_part(const StepInput& in, std::span<const float> sample, std::vector<float>& out);
  /// What a solver integrates: the clean sample (`data`) or the noise.
  void integrand(bool data, const StepInput& in, std::span<const float> sample, std::vector<float>& out) {
    data ? clean_sample(in, sample, out) : noise_part(in, sample, out);
  }
  int last() const { return static_cast<int>(timesteps_.size()) - 1; }
  std::pair<float, float> noise_mix(int i) const override { return {level(i).alpha, level(i).sigma}; }

  Prediction prediction_;
  Thresholding thresholding_;
  std::vector<float> sigmas_;  // one more than timesteps

 private:
  std::vector<float> clean_;  // scratch
};

}  // namespace easel::sampling
