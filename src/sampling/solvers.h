// The solvers of the k-diffusion family: each takes a run from its first noise level to its last.
// D(x, σ) is the clean sample that the network gives, d = (x − D)/σ the derivative dx/dσ of the probability-flow ODE
// (Karras et al. 2022, eq. 1); λ = ln(α/σ), h a step of λ. One file per family.
#pragma once

#include "sampling/solver_run.h"

namespace easel::sampling {

using Solver = void (*)(SolverRun&);

// solvers/euler.cpp — Karras et al. 2022, algorithm 2 without correction; ancestral: Crowson 2022 (k-diffusion);
// _cfg_pp: Chung et al. 2024, noise direction from the unconditional branch.
void solve_euler(SolverRun& run);
void solve_euler_ancestral(SolverRun& run);
void solve_euler_cfg_pp(SolverRun& run);
void solve_euler_ancestral_cfg_pp(SolverRun& run);
// solvers/heun.cpp — Karras et al. 2022, algorithm 2; heunpp2: with the slopes of two steps ahead, weighted by σ.
void solve_heun(SolverRun& run);
void solve_heunpp2(SolverRun& run);
// solvers/dpm_2.cpp — midpoint rule, the middle in ln σ (DPM-Solver-2 with steps in σ).
void solve_dpm_2(SolverRun& run);
void solve_dpm_2_ancestral(SolverRun& run);
// solvers/adams.cpp — Adams–Bashforth in σ. lms: coefficients for the levels as they lie, order 4, clean last step;
// lms_open: the last step as the others (diffusers). ipndm: for even levels (Zhang & Chen 2022); ipndm_v: its published
// variant for uneven ones; deis: Lagrange polynomials in the time of the VP process (tAB-DEIS, ibid.), order 3.
void solve_lms(SolverRun& run);
void solve_lms_open(SolverRun& run);
void solve_ipndm(SolverRun& run);
void solve_ipndm_v(SolverRun& run);
void solve_deis(SolverRun& run);
// solvers/dpm_solver_1to3.cpp — Lu et al. 2022 (DPM-Solver), orders 1 to 3 of single steps over even λ; adaptive:
// orders 2 and 3 compared, step sizes by a PID controller.
void solve_dpm_fast(SolverRun& run);
void solve_dpm_adaptive(SolverRun& run);
// solvers/dpmpp.cpp — Lu et al. 2022 (DPM-Solver++): 2S and 2M.
void solve_dpmpp_2s_ancestral(SolverRun& run);
void solve_dpmpp_2s_ancestral_cfg_pp(SolverRun& run);
void solve_dpmpp_2m(SolverRun& run);
void solve_dpmpp_2m_cfg_pp(SolverRun& run);
// solvers/dpmpp_sde.cpp — DPM-Solver++ for the reverse-time SDE, Brownian noise.
void solve_dpmpp_sde(SolverRun& run);
void solve_dpmpp_2m_sde(SolverRun& run);
void solve_dpmpp_2m_sde_heun(SolverRun& run);
void solve_dpmpp_3m_sde(SolverRun& run);
// solvers/one_step.cpp — ddpm: Ho et al. 2020, algorithm 2, between any two levels; lcm: Luo et al. 2023.
void solve_ddpm(SolverRun& run);
void solve_lcm(SolverRun& run);
// solvers/res_multistep.cpp — second-order exponential multistep (RES, Zhang et al. 2023).
void solve_res_multistep(SolverRun& run);
void solve_res_multistep_cfg_pp(SolverRun& run);
// solvers/gradient_estimation.cpp — Permenter & Yuan 2023, γ = 2.
void solve_gradient_estimation(SolverRun& run);
// solvers/er_sde.cpp — Cui et al. 2023 (ER-SDE-Solver-3), noise scale x·(e^(x^0.3) + 10).
void solve_er_sde(SolverRun& run);
// solvers/seeds.cpp — Gonzalez et al. 2023 (SEEDS), two and three stages.
void solve_seeds_2(SolverRun& run);
void solve_seeds_3(SolverRun& run);
// solvers/sa_solver.cpp — Xue et al. 2023 (SA-Solver), predictor of order 3, corrector of order 4, τ = η between the
// levels at 20% and 80% of the trained timesteps.
void solve_sa_solver(SolverRun& run);
// solvers/uni_pc.cpp — Zhao et al. 2023 (UniPC), order 3, B(h) = h (bh1) or e^h − 1 (bh2); ends at σ = 0.001.
void solve_uni_pc(SolverRun& run);
void solve_uni_pc_bh2(SolverRun& run);

}  // namespace easel::sampling
