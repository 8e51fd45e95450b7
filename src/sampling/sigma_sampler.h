// The samplers of the k-diffusion family: a solver over a list of noise levels.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sampling/model_sampling.h"
#include "sampling/sampler.h"
#include "sampling/solvers.h"

namespace easel::sampling {

/// Calls of the network that a solver makes in a step (the last one, to σ = 0, always takes one).
enum class CallsPerStep { one, two, three, up_to_three, adaptive };

struct SolverEntry {
  const char* name;        ///< ComfyUI's
  const char* class_name;  ///< in diffusers, where it has the sampler and easel follows its schedule; else nullptr
  Solver solve;
  SolverNoise noise = SolverNoise::none;
  double eta = 0;  ///< where the options give none
  CallsPerStep calls = CallsPerStep::one;
  bool unconditional = false;        ///< CFG++
  bool discard_penultimate = false;  ///< in ComfyUI's schedules
  bool rounded_karras = false;       ///< diffusers' class rounds the timesteps of use_karras_sigmas
  bool whole_karras = false;         ///< … takes no sigma_min and sigma_max with them
  bool clips = false;                ///< … has clip_sample
  bool sd_betas = false;             ///< … has Stable Diffusion's betas by default
  bool flow_class = false;           ///< diffusers' class is for flow-matching networks
  bool flow = false;                 ///< also solves flow-matching networks
  bool physical_rng = false;         ///< draws from torch's CUDA generator whatever --rng says
};

/// By the short name or diffusers' class name, normalized; nullptr if there is none.
const SolverEntry* find_solver(const std::string& name);
/// The short names, and those of diffusers' classes.
std::vector<std::string> solver_names();
std::vector<std::string> solver_class_names();

/// diffusers' reading: levels, timesteps and first factor as its scheduler of that name has them.
std::unique_ptr<Sampler> make_configured_sampler(const SolverEntry& solver, const SchedulerConfig& config,
                                                 const SamplerOptions& options);
/// ComfyUI's reading: the schedule by name, "normal" for none, or options.sigmas; nearest trained timesteps.
std::unique_ptr<Sampler> make_scheduled_sampler(const SolverEntry& solver, const SchedulerConfig& config,
                                                const std::string& schedule, const SamplerOptions& options);

}  // namespace easel::sampling
