// Sequences of noise levels for the sigma-based samplers, σ = √((1 − ᾱ) / ᾱ).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sampling/config.h"

namespace easel::sampling {

enum class SigmaSpacing { normal, karras, exponential, beta, lu };

/// Reads use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas (at most one) and, with `lu`, use_lu_lambdas.
/// Throws io if several are set.
SigmaSpacing sigma_spacing_of(const SchedulerConfig& config, bool lu);

/// Both ends of a sequence: the configuration's sigma_min and sigma_max where given, else those of the schedule.
struct SigmaRange {
  double min, max;
};

/// Karras et al. 2022, eq. 5, ρ = 7: (max^(1/ρ) + i/(n−1)·(min^(1/ρ) − max^(1/ρ)))^ρ.
std::vector<double> karras_sigmas(SigmaRange range, int steps);
/// Even steps of ln σ.
std::vector<double> exponential_sigmas(SigmaRange range, int steps);
/// min + Beta(0.6, 0.6)⁻¹(1 − i/(n−1))·(max − min). Lee et al. 2024, "Beta Sampling is All You Need".
std::vector<double> beta_sigmas(SigmaRange range, int steps);
/// The sequence of `spacing`, which is not normal; lu: even steps of λ = −ln σ, Lu et al. 2022.
std::vector<double> spaced_sigmas(SigmaSpacing spacing, SigmaRange range, int steps);

/// What diffusers' sigma-based schedulers (Euler, Heun, KDPM2, LMS) make of a configuration.
struct SigmaLevels {
  std::vector<double> timesteps;  ///< float32 numbers, one per iteration
  std::vector<float> sigmas;      ///< one more
  double init_noise_sigma;
};
/// Reads timestep_spacing, steps_offset, interpolation_type, use_karras_sigmas and its like, sigma_min, sigma_max,
/// final_sigmas_type, and the fields of make_noise_schedule. Throws io and unsupported as SchedulerConfig does.
SigmaLevels sigma_levels(const SchedulerConfig& config, int steps);

/// The (fractional) timestep whose σ is the given one: linear in ln σ between the neighbours in log_sigmas, which is
/// ln σ_t by increasing t, clamped at both ends.
double sigma_to_timestep(double sigma, std::span<const float> log_sigmas);
/// numpy.interp(x, 0 … n−1, values).
double interpolate(double x, std::span<const float> values);
/// numpy's float32 logarithm: a rational approximation (maximum error 4 units in the last place), so that fractional
/// timesteps are those of the reference.
float log_f32(float x);
std::vector<float> log_f32(std::span<const float> values);
/// Quantile function of the symmetric Beta(a, a) distribution, 0 ≤ p ≤ 1, by bisection on its regularized incomplete
/// beta function; absolute error < 1e-14.
double beta_quantile(double p, double a);

/// The float32 noise levels of a run, one per timestep and the last one: final_sigmas_type zero, or σ_0 (sigma_min).
std::vector<float> with_final_sigma(const std::vector<double>& sigmas, const std::string& final_sigmas_type,
                                    float schedule_min);

}  // namespace easel::sampling
