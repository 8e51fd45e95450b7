// x' = e^−h·x + h·(b1·D + b2·D_last): φ1 and φ2 of −h, the last clean sample c2·h behind.
#include <cmath>

#include "sampling/solvers.h"

namespace easel::sampling {

namespace {

// With CFG++ the sample is moved by D − D_u, and D_u takes the place of D.
void solve(SolverRun& run, bool cfg_pp) {
  const auto x = run.sample(), denoised = run.vector();
  History clean(run, 2);  // D, or D_u
  double down_before = 0;
  for (int i = 0; i < run.steps(); ++i) {
    const double from = run.sigma(i), to = run.sigma(i + 1);
    run.denoise(x, from, denoised);
    mix(clean.push(), {{1, cfg_pp ? run.unconditional() : denoised}});
    const auto [down, up] = ancestral_step(from, to, run.eta());
    const double ratio = down / from;
    if (down == 0 || clean.count() < 2) {
      mix(x, {{ratio, x}, {1, denoised}, {-ratio, clean[0]}});
    } else {
      const double h = std::log(from / down);
      const double c2 = std::log(down_before / run.sigma(i - 1)) / h;
      const double phi1 = -std::expm1(-h) / h, phi2 = (phi1 - 1) / -h;
      const double b2 = c2 == 0 ? 0 : phi2 / c2, b1 = phi1 - b2;
      mix(x,
          {{ratio, x}, {cfg_pp ? ratio : 0, denoised}, {h * b1 - (cfg_pp ? ratio : 0), clean[0]}, {h * b2, clean[1]}});
    }
    if (up > 0) mix(x, {{1, x}, {up, run.noise(from, to)}});
    down_before = down;
    run.done(i);
  }
}

}  // namespace

void solve_res_multistep(SolverRun& run) { solve(run, false); }
void solve_res_multistep_cfg_pp(SolverRun& run) { solve(run, true); }

}  // namespace easel::sampling
