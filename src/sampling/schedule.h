// Noise schedules (the betas a network was trained with) and the timesteps a run visits.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "sampling/config.h"

namespace easel::sampling {

/// ᾱ_t = ∏_{s≤t} (1 − β_s) in float32, products accumulated in float64 as torch.cumprod does.
struct NoiseSchedule {
  std::vector<float> alphas_cumprod;  // [num_train_timesteps]

  int64_t size() const { return static_cast<int64_t>(alphas_cumprod.size()); }
  /// ᾱ_t; throws invalid_argument for a timestep the network was not trained with.
  float alpha_bar(int64_t t) const;
  /// √ᾱ_t and √(1 − ᾱ_t): the factors of the clean sample and of the noise at timestep t. Throws as alpha_bar.
  std::pair<float, float> noise_mix(int64_t t) const;
  /// √((1 − ᾱ_t) / ᾱ_t) for all t, float32.
  std::vector<float> sigmas() const;
};

enum class ScheduleKind {
  plain,      ///< linear, scaled_linear, squaredcos_cap_v2
  ddpm,       ///< also sigmoid and laplace
  no_rescale  ///< plain, without rescale_betas_zero_snr
};

/// Reads num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr (zero terminal
/// signal-to-noise ratio, Lin et al. 2023, algorithm 1). linear: β from beta_start to beta_end; scaled_linear: √β so;
/// squaredcos_cap_v2: Nichol & Dhariwal 2021, β ≤ 0.999. sigma_based keeps the last ᾱ at 2⁻²⁴ when rescaled, so that
/// no sigma is infinite. Throws io and unsupported as SchedulerConfig does.
NoiseSchedule make_noise_schedule(const SchedulerConfig& config, ScheduleKind kind, bool sigma_based);

/// timestep_spacing of the configuration.
std::string spacing_of(const SchedulerConfig& config, const char* fallback);

/// Timesteps of a run, last (noisiest) first, before any rounding to the type that a scheduler keeps them in.
/// linspace: `steps` values evenly from num_train−1 to 0; leading: i·⌊num_train/steps⌋ + offset; trailing:
/// round(num_train − i·num_train/steps) − 1 (Lin et al. 2023, table 2). Where rounding errors of the reference append
/// a step at −1 (trailing, 61 steps of 1000), it is left out here.
std::vector<double> spaced_timesteps(const std::string& spacing, int64_t num_train, int steps, int64_t offset);
/// The same for the sigma-based samplers: linspace values unrounded.
std::vector<double> spaced_timesteps_unrounded(const std::string& spacing, int64_t num_train, int steps,
                                               int64_t offset);

/// numpy.linspace(start, stop, count) and numpy.arange(start, 0, −step), in float64.
std::vector<double> linspace(double start, double stop, int count);
std::vector<double> arange_down(double start, double step);
/// torch.linspace(start, stop, count) in float32.
std::vector<float> linspace_f32(double start, double stop, int64_t count);

}  // namespace easel::sampling
