// What a network was trained with, seen from the noise levels: σ ↔ timestep, and its outputs as clean samples.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "sampling/config.h"
#include "sampling/prediction.h"

namespace easel::sampling {

/// Which timestep a noise level between two trained ones has.
enum class TimestepRule {
  interpolated,  ///< the fractional one, linear in ln σ (diffusers, k-diffusion)
  nearest        ///< the trained one nearest in ln σ (ComfyUI)
};

/// Samples are x = α(σ)·x0 + σ·noise, with α = 1 for networks trained on ᾱ_t, where σ_t = √((1−ᾱ_t)/ᾱ_t), and
/// α = 1 − σ for flow matching (prediction_type flow_prediction), where σ_t = s·u / (1 + (s − 1)·u), u = t/T, with the
/// configuration's shift s (Esser et al. 2024, eq. 23).
class ModelSampling {
 public:
  /// Reads the fields that make_noise_schedule does, prediction_type (epsilon, sample, original_sample, v_prediction,
  /// flow_prediction) and shift. Throws io and unsupported as SchedulerConfig does.
  ModelSampling(const SchedulerConfig& config, TimestepRule rule);

  /// Clean samples are clamped to ±range from now on.
  void set_clip(double range) { clip_ = static_cast<float>(range); }
  bool is_flow() const { return prediction_ == Prediction::flow; }
  double alpha(double sigma) const { return is_flow() ? 1 - sigma : 1; }

  /// σ of all trained timesteps, increasing, float32.
  const std::vector<float>& sigmas() const { return sigmas_; }
  double sigma_min() const { return sigmas_.front(); }
  double sigma_max() const { return sigmas_.back(); }
  /// By the rule; clamped to the trained range.
  double timestep(double sigma) const;
  /// σ of a fractional timestep, linear in ln σ between the trained ones; clamped.
  double sigma(double timestep) const;
  /// The noise level after a fraction of the trained timesteps, 0 the noisiest: σ((1 − fraction)·(T − 1)).
  double sigma_at(double fraction) const;

  /// out := the network's input, x / √(σ² + 1) or, for flow matching, x.
  void scale_input(double sigma, std::span<const float> x, std::span<float> out) const;
  /// output := the clean sample it stands for, given the x that the network saw.
  void to_denoised(double sigma, std::span<const float> x, std::span<float> output) const;
  /// What unit-variance noise is multiplied by for a run that begins at σ from nothing but noise, by ComfyUI's rule:
  /// √(σ² + 1) at the trained maximum, σ below it; σ for flow matching.
  double noise_factor(double sigma) const;

 private:
  Prediction prediction_;
  TimestepRule rule_;
  std::vector<float> sigmas_, log_sigmas_;
  std::optional<float> clip_;
};

}  // namespace easel::sampling
