// The samplers that diffusers steps by hand, one file each. All follow diffusers' arithmetic: coefficients and samples
// in float32. They differ from it only where it fails: a trailing spacing whose rounding errors append a timestep −1
// loses that timestep, a schedule that begins with the same timestep twice starts at the first of them, and DDPM's
// fixed_large_log has a variance instead of NaN.
#pragma once

#include <memory>
#include <string>

#include "sampling/config.h"
#include "sampling/scheduler.h"

namespace easel::sampling {

/// Ho et al. 2020, eq. 6 and 7. variance_type: fixed_small, fixed_small_log, fixed_large, fixed_large_log (which the
/// reference turns into NaN; here exp(½ ln β)), learned, learned_range (Nichol & Dhariwal 2021, eq. 15).
std::unique_ptr<Scheduler> make_ddpm(const SchedulerConfig& config, const SamplerOptions& options);
/// Song et al. 2020, eq. 12 and 16, with eta from the options.
std::unique_ptr<Scheduler> make_ddim(const SchedulerConfig& config, const SamplerOptions& options);
/// Liu et al. 2022: Runge-Kutta warm-up and linear multistep (F-PNDM), or with skip_prk_steps multistep alone (PLMS).
std::unique_ptr<Scheduler> make_pndm(const SchedulerConfig& config, const SamplerOptions& options);
/// Lu et al. 2022 (DPM-Solver, DPM-Solver++), multistep, orders 1 to 3, deterministic and SDE.
std::unique_ptr<Scheduler> make_dpm_solver(const SchedulerConfig& config, const SamplerOptions& options);
/// Karras et al. 2022, algorithm 1 without churn.
std::unique_ptr<Scheduler> make_euler(const SchedulerConfig& config, const SamplerOptions& options);
/// Euler steps to a lower noise level, then fresh noise up to the next one (k-diffusion, Crowson 2022).
std::unique_ptr<Scheduler> make_euler_ancestral(const SchedulerConfig& config, const SamplerOptions& options);
/// Lu et al. 2022, single steps: blocks of up to three iterations (orders 1 to 3), deterministic and SDE.
std::unique_ptr<Scheduler> make_dpm_singlestep(const SchedulerConfig& config, const SamplerOptions& options);
/// Zhao et al. 2023 (UniPC), orders 1 to 8, B(h) of either kind, of the clean sample or the noise.
std::unique_ptr<Scheduler> make_unipc(const SchedulerConfig& config, const SamplerOptions& options);
/// Zhang & Chen 2022 (DEIS), tAB over ln ρ, orders 1 to 3.
std::unique_ptr<Scheduler> make_deis(const SchedulerConfig& config, const SamplerOptions& options);
/// Xue et al. 2023 (SA-Solver), predictor and corrector of orders 1 to 4; τ = eta (1) at timesteps 200 to 800, else 0.
std::unique_ptr<Scheduler> make_sa_solver(const SchedulerConfig& config, const SamplerOptions& options);
/// Zhang & Chen 2022 (iPNDM) as trained on a quarter circle, x = α·x0 + β·noise with timesteps from 1 to 0.
std::unique_ptr<Scheduler> make_ipndm(const SchedulerConfig& config, const SamplerOptions& options);
/// Karras et al. 2022, algorithm 1, and DPM-Solver++, both with the paper's levels and preconditioning.
std::unique_ptr<Scheduler> make_edm_euler(const SchedulerConfig& config, const SamplerOptions& options);
std::unique_ptr<Scheduler> make_edm_dpm_solver(const SchedulerConfig& config, const SamplerOptions& options);

/// Luo et al. 2023, and Zheng et al. 2024 (TCD, with its γ as eta, 0.3 by default).
std::unique_ptr<Scheduler> make_lcm(const SchedulerConfig& config, const SamplerOptions& options);
std::unique_ptr<Scheduler> make_tcd(const SchedulerConfig& config, const SamplerOptions& options);

/// steps_offset of the configuration.
int64_t steps_offset_of(const SchedulerConfig& config);
/// Throws invalid_argument if more steps are asked for than the network was trained with.
void check_steps(const SamplerOptions& options, int64_t num_train_timesteps);
/// Throws unsupported if an iteration starts from pure noise (ᾱ = 0) but the network predicts that noise, from which
/// no clean sample follows; `unbounded`: it does, and nothing clips the infinite quotient.
void check_not_pure_noise(float alpha_bar, bool unbounded);

}  // namespace easel::sampling
