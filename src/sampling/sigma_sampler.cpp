#include "sampling/sigma_sampler.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "sampling/names.h"
#include "sampling/philox.h"
#include "sampling/schedule.h"
#include "sampling/schedules.h"
#include "sampling/sigmas.h"

namespace easel::sampling {

namespace {

using enum SolverNoise;
using enum CallsPerStep;

// clang-format off
constexpr SolverEntry kSolvers[] = {
    {.name = "euler", .class_name = nullptr, .solve = solve_euler, .flow = true},
    {.name = "euler_cfg_pp", .class_name = nullptr, .solve = solve_euler_cfg_pp, .unconditional = true},
    {.name = "euler_ancestral", .class_name = nullptr, .solve = solve_euler_ancestral, .noise = gaussian, .eta = 1, .flow = true},
    {.name = "euler_ancestral_cfg_pp", .class_name = nullptr, .solve = solve_euler_ancestral_cfg_pp, .noise = gaussian, .eta = 1, .unconditional = true},
    {.name = "heun", .class_name = "HeunDiscreteScheduler", .solve = solve_heun, .calls = two, .clips = true, .sd_betas = true, .flow = true},
    {.name = "heunpp2", .class_name = nullptr, .solve = solve_heunpp2, .calls = up_to_three, .flow = true},
    {.name = "dpm_2", .class_name = "KDPM2DiscreteScheduler", .solve = solve_dpm_2, .calls = two, .discard_penultimate = true, .rounded_karras = true, .sd_betas = true, .flow = true},
    {.name = "dpm_2_ancestral", .class_name = "KDPM2AncestralDiscreteScheduler", .solve = solve_dpm_2_ancestral, .noise = gaussian, .eta = 1, .calls = two, .discard_penultimate = true, .rounded_karras = true, .sd_betas = true},
    {.name = "lms", .class_name = nullptr, .solve = solve_lms, .flow = true},
    {.name = "dpm_fast", .class_name = nullptr, .solve = solve_dpm_fast, .noise = gaussian},
    {.name = "dpm_adaptive", .class_name = nullptr, .solve = solve_dpm_adaptive, .noise = gaussian, .calls = adaptive},
    {.name = "dpmpp_2s_ancestral", .class_name = nullptr, .solve = solve_dpmpp_2s_ancestral, .noise = gaussian, .eta = 1, .calls = two},
    {.name = "dpmpp_2s_ancestral_cfg_pp", .class_name = nullptr, .solve = solve_dpmpp_2s_ancestral_cfg_pp, .noise = gaussian, .eta = 1, .calls = two, .unconditional = true},
    {.name = "dpmpp_sde", .class_name = nullptr, .solve = solve_dpmpp_sde, .noise = brownian, .eta = 1, .calls = two},
    {.name = "dpmpp_sde_gpu", .class_name = nullptr, .solve = solve_dpmpp_sde, .noise = brownian, .eta = 1, .calls = two, .physical_rng = true},
    {.name = "dpmpp_2m", .class_name = nullptr, .solve = solve_dpmpp_2m, .flow = true},
    {.name = "dpmpp_2m_cfg_pp", .class_name = nullptr, .solve = solve_dpmpp_2m_cfg_pp, .unconditional = true},
    {.name = "dpmpp_2m_sde", .class_name = nullptr, .solve = solve_dpmpp_2m_sde, .noise = brownian, .eta = 1, .flow = true},
    {.name = "dpmpp_2m_sde_gpu", .class_name = nullptr, .solve = solve_dpmpp_2m_sde, .noise = brownian, .eta = 1, .flow = true, .physical_rng = true},
    {.name = "dpmpp_2m_sde_heun", .class_name = nullptr, .solve = solve_dpmpp_2m_sde_heun, .noise = brownian, .eta = 1, .flow = true},
    {.name = "dpmpp_2m_sde_heun_gpu", .class_name = nullptr, .solve = solve_dpmpp_2m_sde_heun, .noise = brownian, .eta = 1, .flow = true, .physical_rng = true},
    {.name = "dpmpp_3m_sde", .class_name = nullptr, .solve = solve_dpmpp_3m_sde, .noise = brownian, .eta = 1, .flow = true},
    {.name = "dpmpp_3m_sde_gpu", .class_name = nullptr, .solve = solve_dpmpp_3m_sde, .noise = brownian, .eta = 1, .flow = true, .physical_rng = true},
    {.name = "ddpm", .class_name = nullptr, .solve = solve_ddpm, .noise = gaussian, .eta = 1},
    {.name = "lcm", .class_name = nullptr, .solve = solve_lcm, .noise = gaussian, .eta = 1, .flow = true},
    {.name = "ipndm", .class_name = nullptr, .solve = solve_ipndm, .flow = true},
    {.name = "ipndm_v", .class_name = nullptr, .solve = solve_ipndm_v, .flow = true},
    {.name = "deis", .class_name = nullptr, .solve = solve_deis},
    {.name = "res_multistep", .class_name = nullptr, .solve = solve_res_multistep, .noise = gaussian},
    {.name = "res_multistep_cfg_pp", .class_name = nullptr, .solve = solve_res_multistep_cfg_pp, .noise = gaussian, .unconditional = true},
    {.name = "res_multistep_ancestral", .class_name = nullptr, .solve = solve_res_multistep, .noise = gaussian, .eta = 1},
    {.name = "res_multistep_ancestral_cfg_pp", .class_name = nullptr, .solve = solve_res_multistep_cfg_pp, .noise = gaussian, .eta = 1, .unconditional = true},
    {.name = "gradient_estimation", .class_name = nullptr, .solve = solve_gradient_estimation, .flow = true},
    {.name = "er_sde", .class_name = nullptr, .solve = solve_er_sde, .noise = gaussian, .eta = 1},
    {.name = "seeds_2", .class_name = nullptr, .solve = solve_seeds_2, .noise = gaussian, .eta = 1, .calls = two},
    {.name = "seeds_3", .class_name = nullptr, .solve = solve_seeds_3, .noise = gaussian, .eta = 1, .calls = three},
    {.name = "sa_solver", .class_name = nullptr, .solve = solve_sa_solver, .noise = gaussian, .eta = 1},
    {.name = "ddim", .class_name = nullptr, .solve = solve_euler, .flow = true},
    {.name = "uni_pc", .class_name = nullptr, .solve = solve_uni_pc, .discard_penultimate = true},
    {.name = "uni_pc_bh2", .class_name = nullptr, .solve = solve_uni_pc_bh2, .discard_penultimate = true},
    // diffusers' own: the last step is as the others
    {.name = "lms_discrete", .class_name = "LMSDiscreteScheduler", .solve = solve_lms_open, .whole_karras = true},
    {.name = "dpmsolver_sde", .class_name = "DPMSolverSDEScheduler", .solve = solve_dpmpp_sde, .noise = brownian, .eta = 1, .calls = two, .whole_karras = true, .sd_betas = true},
    {.name = "flow_match_euler", .class_name = "FlowMatchEulerDiscreteScheduler", .solve = solve_euler, .flow_class = true, .flow = true},
};
// clang-format on

// The numbers of torch's CUDA generator, over the seeds of another source.
class CudaNoise final : public NoiseSource {
 public:
  explicit CudaNoise(NoiseSource& seeds) : seeds_(seeds) {}
  void randn(std::span<float> out) override { seeds_.randn(out); }
  std::vector<uint64_t> brownian_seeds() const override { return seeds_.brownian_seeds(); }
  void seeded_randn(uint64_t seed, std::span<float> out) const override { PhiloxGenerator(seed).randn(out); }

 private:
  NoiseSource& seeds_;
};

// A seed that the configuration gives, over the numbers of another source.
class SeededNoise final : public NoiseSource {
 public:
  SeededNoise(NoiseSource& numbers, uint64_t seed) : numbers_(numbers), seed_(seed) {}
  void randn(std::span<float> out) override { numbers_.randn(out); }
  std::vector<uint64_t> brownian_seeds() const override { return {seed_}; }
  void seeded_randn(uint64_t seed, std::span<float> out) const override { numbers_.seeded_randn(seed, out); }

 private:
  NoiseSource& numbers_;
  uint64_t seed_;
};

class SigmaSampler final : public Sampler {
 public:
  SigmaSampler(const SolverEntry& solver, ModelSampling network, std::vector<double> sigmas,
               std::vector<double> timesteps, double first_factor, const SamplerOptions& options, bool scheduled)
      : solver_(solver),
        network_(std::move(network)),
        sigmas_(std::move(sigmas)),
        timesteps_(std::move(timesteps)),
        first_factor_(first_factor),
        options_(options),
        scheduled_(scheduled) {
    if (network_.is_flow() && !solver.flow)
      fail(ErrorCode::unsupported,
           "--sampler {}: expected a network that predicts epsilon, v or the sample, found prediction_type "
           "flow_prediction in scheduler_config.json; use euler, heun or dpmpp_2m",
           solver.name);
  }

  int model_calls() const override {
    const int steps = static_cast<int>(sigmas_.size()) - 1, open = sigmas_.back() > 0 ? steps : steps - 1;
    switch (solver_.calls) {
      case one: return steps;
      case two: return steps + open;
      case three: return steps + 2 * open;
      case up_to_three: return steps + std::max(0, steps - 1) + std::max(0, steps - 2);
      case adaptive: return 0;
    }
    return 0;
  }

  bool wants_unconditional() const override { return solver_.unconditional; }
  bool always_starts_from_original() const override { return scheduled_; }
  void set_brownian_seed(uint64_t seed) { brownian_seed_ = seed; }

  void start(std::span<const float> original, std::span<float> noise) const override {
    if (!original.empty() && original.size() != noise.size())
      fail(ErrorCode::shape_mismatch, "sampler: noising: expected {} values, found {}", noise.size(), original.size());
    const double sigma = sigmas_.front();
    if (original.empty())
      mix(noise, {{first_factor_, noise}});
    else
      mix(noise, {{scheduled_ ? first_factor_ : sigma, noise}, {network_.alpha(sigma), original}});
  }

  using Sampler::run;
  void run(Model& model, std::span<float> sample, const Shape& shape, NoiseSource& noise, const StepObserver& observer,
           const KeptPart* kept) override {
    CudaNoise cuda(noise);
    SeededNoise seeded(noise, brownian_seed_.value_or(0));
    NoiseSource& source = solver_.physical_rng ? static_cast<NoiseSource&>(cuda)
                          : brownian_seed_     ? static_cast<NoiseSource&>(seeded)
                                               : noise;
    SolverRun run({network_, sigmas_, timesteps_, options_, solver_.noise, solver_.unconditional,
                   options_.eta.value_or(solver_.eta), kept, scheduled_ || (kept && kept->differential), !scheduled_},
                  model, sample, shape, source, observer);
    solver_.solve(run);
    if (kept && scheduled_) run.restore(sigmas_.back(), sample);
    // A flow sample that keeps noise is kept as if it had begun there: over its share of the clean sample.
    const double alpha = network_.alpha(sigmas_.back());
    if (alpha != 1) mix(sample, {{1 / alpha, sample}});
  }

  std::vector<NoiseLevel> levels() const override {
    std::vector<NoiseLevel> out;
    for (size_t i = 0; i + 1 < sigmas_.size(); ++i)
      out.push_back({timesteps_.empty() ? network_.timestep(sigmas_[i]) : timesteps_[i], sigmas_[i]});
    out.push_back({std::nullopt, sigmas_.back()});
    return out;
  }

 private:
  const SolverEntry& solver_;
  ModelSampling network_;
  std::vector<double> sigmas_, timesteps_;
  double first_factor_;
  SamplerOptions options_;
  bool scheduled_;  // by ComfyUI's rules
  std::optional<uint64_t> brownian_seed_;
};

// The levels of diffusers' FlowMatchEulerDiscreteScheduler: even between the ends of the shifted trained ones, and
// shifted once more.
SigmaLevels flow_levels(const SchedulerConfig& config, const ModelSampling& network, int steps) {
  for (const char* field : {"use_dynamic_shifting", "invert_sigmas", "stochastic_sampling"})
    if (config.boolean(field, false))
      fail(ErrorCode::unsupported, "scheduler_config.json: {}: expected false, found true", field);
  if (config.optional_number("shift_terminal", 0, 1).value_or(0) != 0)
    fail(ErrorCode::unsupported, "scheduler_config.json: shift_terminal: expected null, found a number");
  const double shift = config.number("shift", 1.0, 1e-3, 1e3);
  std::vector<double> sigmas = linspace(network.sigma_max(), network.sigma_min(), steps);
  for (double& sigma : sigmas) sigma = shift * sigma / (1 + (shift - 1) * sigma);
  const SigmaSpacing spacing = sigma_spacing_of(config, false);
  if (spacing != SigmaSpacing::normal) sigmas = spaced_sigmas(spacing, {sigmas.back(), sigmas.front()}, steps);
  SigmaLevels out;
  out.sigmas = with_final_sigma(sigmas, "zero", 0);
  for (int i = 0; i < steps; ++i) out.timesteps.push_back(network.timestep(out.sigmas[static_cast<size_t>(i)]));
  out.init_noise_sigma = out.sigmas.front();
  return out;
}

// The part of the schedule that start_step and end_step leave.
void cut(const SamplerOptions& options, std::vector<double>& sigmas, std::vector<double>& timesteps) {
  const int count = static_cast<int>(sigmas.size()) - 1;
  const int last = std::min(options.end_step.value_or(count), count), first = options.start_step;
  if (first < 0 || first >= count)
    fail(ErrorCode::invalid_argument, "--start-step: expected 0 to {}, found {}", count - 1, first);
  if (last <= first)
    fail(ErrorCode::invalid_argument, "--end-step: expected more than --start-step {}, found {}", first,
         options.end_step.value_or(count));
  sigmas = {sigmas.begin() + first, sigmas.begin() + last + 1};
  if (!timesteps.empty()) timesteps = {timesteps.begin() + first, timesteps.begin() + last};
}

}  // namespace

const SolverEntry* find_solver(const std::string& name) {
  for (const SolverEntry& entry : kSolvers)
    if (name == entry.name || (entry.class_name && name == normalized(entry.class_name))) return &entry;
  return nullptr;
}

std::vector<std::string> solver_names() {
  std::vector<std::string> names;
  for (const SolverEntry& entry : kSolvers) names.emplace_back(entry.name);
  return names;
}

std::vector<std::string> solver_class_names() {
  std::vector<std::string> names;
  for (const SolverEntry& entry : kSolvers)
    if (entry.class_name) names.emplace_back(entry.class_name);
  return names;
}

std::unique_ptr<Sampler> make_configured_sampler(const SolverEntry& solver, const SchedulerConfig& config,
                                                 const SamplerOptions& options) {
  SchedulerConfig fields = config;
  if (solver.flow_class) fields.set("prediction_type", "flow_prediction");
  if (solver.sd_betas) {
    fields.set_default("beta_start", 0.00085);
    fields.set_default("beta_end", 0.012);
  }
  // Fields of other classes, which theirs does not have.
  fields.set("interpolation_type", "linear");
  fields.set("final_sigmas_type", "zero");
  fields.set("rescale_betas_zero_snr", false);
  if (solver.whole_karras && sigma_spacing_of(config, false) == SigmaSpacing::karras) {
    fields.set("sigma_min", nullptr);
    fields.set("sigma_max", nullptr);
  }
  ModelSampling network(fields, TimestepRule::interpolated);
  if (solver.clips && config.boolean("clip_sample", false))
    network.set_clip(config.number("clip_sample_range", 1.0, 0, 1e30));
  const SigmaLevels levels =
      network.is_flow() ? flow_levels(fields, network, options.steps) : sigma_levels(fields, options.steps);
  std::vector<double> sigmas(levels.sigmas.begin(), levels.sigmas.end()), timesteps = levels.timesteps;
  if (solver.rounded_karras && sigma_spacing_of(config, false) == SigmaSpacing::karras)
    for (double& t : timesteps) t = std::nearbyint(t);
  cut(options, sigmas, timesteps);
  const double factor = options.start_step == 0 ? levels.init_noise_sigma : sigmas.front();
  auto sampler = std::make_unique<SigmaSampler>(solver, std::move(network), std::move(sigmas), std::move(timesteps),
                                                factor, options, false);
  if (config.has("noise_sampler_seed"))
    sampler->set_brownian_seed(static_cast<uint64_t>(config.integer("noise_sampler_seed", 0, 0, INT64_MAX)));
  return sampler;
}

std::unique_ptr<Sampler> make_scheduled_sampler(const SolverEntry& solver, const SchedulerConfig& config,
                                                const std::string& schedule, const SamplerOptions& options) {
  ModelSampling network(config, TimestepRule::nearest);
  std::vector<double> sigmas = options.sigmas, timesteps;
  if (sigmas.empty())
    sigmas = make_sigmas(schedule.empty() ? "normal" : schedule, network,
                         {options.steps, options.denoise, solver.discard_penultimate, options.rho});
  else
    check_sigmas(sigmas);
  cut(options, sigmas, timesteps);
  const double factor = network.noise_factor(sigmas.front());
  return std::make_unique<SigmaSampler>(solver, std::move(network), std::move(sigmas), std::vector<double>(), factor,
                                        options, true);
}

}  // namespace easel::sampling
