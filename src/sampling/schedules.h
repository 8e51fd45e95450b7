// Sequences of noise levels by name, from the levels a network was trained with.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sampling/model_sampling.h"

namespace easel::sampling {

/// What a schedule may depend on beside the network.
struct ScheduleOptions {
  int steps = 20;
  /// Below 1: ⌊steps/denoise⌋ steps are made and the last steps + 1 levels kept (turbo: see there).
  double denoise = 1;
  /// One step more is made and the level before the last left out (ComfyUI does so for dpm_2 and uni_pc).
  bool discard_penultimate = false;
  std::optional<double> rho = std::nullopt;  ///< of karras (7) and polyexponential (1)
};

/// The noise levels of a run, decreasing, the last one 0: steps + 1 of them, except where a rule drops repeated ones
/// (beta) or strides over the table (ddim_uniform). σ_t: the network's levels, t = 0 … T − 1. By ComfyUI's rules:
///
/// simple            every T/steps-th level of the table, from the noisiest
/// normal            timesteps evenly from T − 1 to 0
/// sgm_uniform       timesteps evenly from T − 1, the last before 0
/// ddim_uniform      every ⌊T/steps⌋-th level from the second
/// karras            (σ_max^(1/ρ) + u·(σ_min^(1/ρ) − σ_max^(1/ρ)))^ρ, u = 0 … 1; Karras et al. 2022, eq. 5
/// exponential       even in ln σ
/// polyexponential   ln σ = ln σ_min + (1 − u)^ρ·(ln σ_max − ln σ_min)
/// beta              timesteps at the quantiles of Beta(0.6, 0.6); Lee et al. 2024
/// linear_quadratic  1 − σ/σ_max linear up to 0.025 in half of the steps, then quadratic (Mochi)
/// kl_optimal        tan of even angles from arctan σ_max to arctan σ_min; Sabour et al. 2024, eq. 8
/// align_your_steps  levels optimized for Stable Diffusion 1.5, log-linear between them; ibid., table 3;
///                   align_your_steps_sdxl, align_your_steps_svd: those of these models
/// turbo             timesteps T − 1, T − 1 − T/10, …, at most 10 steps; denoise leaves out the first (SD-Turbo)
/// Throws invalid_argument for an unknown name, and for options that the schedule cannot have.
std::vector<double> make_sigmas(const std::string& name, const ModelSampling& model, const ScheduleOptions& options);

/// Names that make_sigmas accepts.
std::vector<std::string> schedule_names();

/// Levels given by hand. Throws invalid_argument, naming --sigmas, unless there are two or more, finite, decreasing,
/// the first above 0 and none below.
void check_sigmas(const std::vector<double>& sigmas);

}  // namespace easel::sampling
