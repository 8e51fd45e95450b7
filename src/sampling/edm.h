// Networks trained as Karras et al. 2022 (EDM) have it, and their noise levels.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "sampling/config.h"

namespace easel::sampling {

/// Table 1 of the paper: the network F sees x/√(σ² + σ_data²) and ¼·ln σ, and
/// x0 = σ_data²/(σ² + σ_data²)·x + σ·σ_data/√(σ² + σ_data²)·F (prediction_type v_prediction: −F). float32.
struct EdmNetwork {
  float sigma_data = 0.5f;
  float sign = 1;

  /// Reads sigma_data and prediction_type (epsilon, v_prediction). Throws io and unsupported.
  static EdmNetwork from(const SchedulerConfig& config);
  static double timestep(float sigma) { return 0.25f * std::log(sigma); }
  float input_divisor(float sigma) const { return std::sqrt(sigma * sigma + sigma_data * sigma_data); }
  void clean_sample(float sigma, std::span<const float> x, std::span<const float> output,
                    std::span<float> original) const;
};

/// Reads sigma_min (0.002), sigma_max (80), sigma_schedule (karras, exponential), rho (7) and final_sigmas_type; steps
/// levels and a last one: 0, or with sigma_min the last of them. `repeats`: computed in float64, and the last one is
/// the last of the levels; else in float32, and it is sigma_min itself. Throws io.
std::vector<float> edm_sigmas(const SchedulerConfig& config, int steps, bool repeats);
/// √(sigma_max² + 1).
double edm_init_noise_sigma(const SchedulerConfig& config);

}  // namespace easel::sampling
