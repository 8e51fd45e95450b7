// The names samplers go by, and what a configuration and the options make of them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "sampling/names.h"
#include "sampling/samplers.h"
#include "sampling/schedules.h"
#include "sampling/sigma_sampler.h"

namespace easel::sampling {

namespace {

// What diffusers steps by hand. `solver`: the one that ComfyUI has under that name, where it has one.
struct Entry {
  const char* name;        // the short name
  const char* class_name;  // in diffusers
  std::unique_ptr<Scheduler> (*make)(const SchedulerConfig&, const SamplerOptions&);
  const char* solver;
  bool sigmas = false;  // has use_karras_sigmas and its like
  bool lu = false;      // has use_lu_lambdas
  bool spacing = true;  // has timestep_spacing
  bool edm = false;     // has sigma_schedule, karras or exponential
};

constexpr Entry kEntries[] = {
    {"ddpm", "DDPMScheduler", make_ddpm, "ddpm"},
    {"ddim", "DDIMScheduler", make_ddim, "ddim"},
    {"pndm", "PNDMScheduler", make_pndm, nullptr},
    {"dpm_solver++", "DPMSolverMultistepScheduler", make_dpm_solver, "dpmpp_2m", true, true},
    {"euler", "EulerDiscreteScheduler", make_euler, "euler", true},
    {"euler_ancestral", "EulerAncestralDiscreteScheduler", make_euler_ancestral, "euler_ancestral"},
    {"lcm", "LCMScheduler", make_lcm, "lcm"},
    {"tcd", "TCDScheduler", make_tcd, nullptr},
    // By their files' names in diffusers: the short ones are ComfyUI's.
    {"unipc_multistep", "UniPCMultistepScheduler", make_unipc, "uni_pc_bh2", true},
    {"deis_multistep", "DEISMultistepScheduler", make_deis, "deis", true},
    {"sasolver", "SASolverScheduler", make_sa_solver, "sa_solver", true},
    {"dpmsolver_singlestep", "DPMSolverSinglestepScheduler", make_dpm_singlestep, nullptr, true, false, false},
    {"ipndm_scheduler", "IPNDMScheduler", make_ipndm, "ipndm", false, false, false},
    {"edm_euler", "EDMEulerScheduler", make_edm_euler, nullptr, false, false, false, true},
    {"edm_dpmsolver_multistep", "EDMDPMSolverMultistepScheduler", make_edm_dpm_solver, nullptr, false, false, false,
     true},
};

// Other names; a preset is laid over the configuration, and may mean another solver in ComfyUI.
struct Alias {
  const char* alias;
  const char* name;
  const char* preset = "";
  const char* solver = "";  // "": that of the name
};

constexpr Alias kAliases[] = {
    {"plms", "pndm"},
    {"dpmsolver++", "dpm_solver++"},
    {"dpmpp_2m", "dpm_solver++"},
    {"dpm++_2m", "dpm_solver++"},
    {"dpmpp_3m", "dpm_solver++", R"({"solver_order": 3})", nullptr},
    {"dpmpp_2m_sde", "dpm_solver++", R"({"algorithm_type": "sde-dpmsolver++"})", "dpmpp_2m_sde"},
    {"dpm++_2m_sde", "dpm_solver++", R"({"algorithm_type": "sde-dpmsolver++"})", "dpmpp_2m_sde"},
    {"dpmpp_3m_sde", "dpm_solver++", R"({"algorithm_type": "sde-dpmsolver++", "solver_order": 3})", "dpmpp_3m_sde"},
    {"dpm++_3m_sde", "dpm_solver++", R"({"algorithm_type": "sde-dpmsolver++", "solver_order": 3})", "dpmpp_3m_sde"},
    {"dpm_solver", "dpm_solver++", R"({"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"})", nullptr},
    {"dpmsolver", "dpm_solver++", R"({"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"})", nullptr},
    {"sde_dpm_solver++", "dpm_solver++", R"({"algorithm_type": "sde-dpmsolver++"})", "dpmpp_2m_sde"},
    {"euler_a", "euler_ancestral"},
    {"euler_discrete", "euler"},
    {"euler_ancestral_discrete", "euler_ancestral"},
    // The web UI's labels.
    {"dpm2", "dpm_2"},
    {"dpm2_a", "dpm_2_ancestral"},
    {"dpm++_2s_a", "dpmpp_2s_ancestral"},
    {"dpm++_sde", "dpmpp_sde"},
    {"dpm++_2m_sde_heun", "dpmpp_2m_sde_heun"},
    {"ddim_cfg++", "euler_cfg_pp"},
    {"unipc", "uni_pc"},
    // The same steps in diffusers, for many pictures at once.
    {"ddimparallelscheduler", "ddim"},
    {"ddpmparallelscheduler", "ddpm"},
};

// The web UI's labels of schedules that ComfyUI names otherwise.
constexpr std::pair<const char*, const char*> kScheduleAliases[] = {
    {"automatic", "default"}, {"uniform", "normal"}, {"ddim", "ddim_uniform"}};

// The schedules that diffusers' classes can be asked for.
constexpr const char* kSigmaSchedules[] = {"default", "normal",   "karras",  "exponential", "beta",
                                           "lu",      "linspace", "leading", "trailing"};

bool is_one_of(const std::string& name, std::span<const char* const> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_spacing(const std::string& name) { return name == "linspace" || name == "leading" || name == "trailing"; }

const Entry* find_entry(const std::string& wanted) {
  for (const Entry& entry : kEntries)
    if (wanted == entry.name || wanted == normalized(entry.class_name)) return &entry;
  return nullptr;
}

// What a name means: a scheduler of diffusers, a solver, or both.
struct Choice {
  const Entry* entry = nullptr;
  const SolverEntry* solver = nullptr;
  bool comfy = false;  // by ComfyUI's rules whatever the options
};

Choice find_choice(const std::string& key, SchedulerConfig& config) {
  Choice choice;
  std::string name = key;
  const char* solver = "";
  const bool prefixed = key.starts_with("k_");
  if (prefixed) name = key.substr(2);
  for (const Alias& alias : kAliases) {
    if (name != alias.alias) continue;
    name = alias.name;
    solver = alias.solver;
    if (*alias.preset && !prefixed) {
      const nlohmann::json preset = nlohmann::json::parse(alias.preset);
      for (const auto& [field, value] : preset.items()) config.set(field.c_str(), value);
    }
    break;
  }
  choice.entry = find_entry(name);
  if (choice.entry && solver && !*solver) solver = choice.entry->solver;
  if (choice.entry)
    choice.solver = solver ? find_solver(solver) : nullptr;
  else
    choice.solver = find_solver(name);
  if (prefixed) choice.entry = nullptr;
  choice.comfy = prefixed || (choice.solver && !choice.entry && !choice.solver->class_name);
  return choice;
}

// Whether the configuration is that of a network trained by flow matching; none where it does not say.
std::optional<bool> is_flow(const nlohmann::json& config) {
  const auto text = [&](const char* field) {
    const auto found = config.find(field);
    return found != config.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const std::string name = text("_class_name"), prediction = text("prediction_type");
  if (prediction == "flow_prediction" || name.starts_with("FlowMatch")) return true;
  if (!name.empty() || !prediction.empty() || config.contains("beta_schedule")) return false;
  return std::nullopt;
}

// A sampler for the other kind of network is no sampler for this one.
void match_network(const nlohmann::json& config, const std::string& name, Choice& choice, SchedulerConfig& fields) {
  const std::optional<bool> flow = is_flow(config);
  const bool flow_class = choice.solver && choice.solver->flow_class;
  if (flow == false && flow_class)
    fail(ErrorCode::invalid_argument,
         "--sampler {}: expected a network trained by flow matching, found one that predicts {} (prediction_type of "
         "scheduler_config.json); use euler",
         printable(name, 40), config.value("prediction_type", "epsilon"));
  if (flow != true || name.empty() || flow_class) return;
  // diffusers' other classes read no flow; ComfyUI's samplers of these names do.
  fields.set("prediction_type", "flow_prediction");
  if (!choice.solver)
    fail(ErrorCode::invalid_argument,
         "--sampler {}: expected a network that predicts epsilon, v or the sample, found flow_prediction "
         "(prediction_type or _class_name of scheduler_config.json); use euler, heun or dpmpp_2m",
         choice.entry->name);
  choice.entry = nullptr;
  choice.comfy = true;
}

// Options that only ComfyUI's rules know; their name, or "".
std::string comfy_option(const SamplerOptions& options) {
  if (!options.sigmas.empty()) return "--sigmas";
  if (options.denoise != 1) return "--denoise";
  if (options.s_churn != 0) return "--s-churn";
  if (options.s_noise != 1) return "--s-noise";
  if (options.rho) return "--rho";
  return "";
}

// Whether diffusers' class of that name has the schedule.
bool has_schedule(const Choice& choice, const std::string& schedule) {
  if (!is_one_of(schedule, kSigmaSchedules)) return false;
  if (is_spacing(schedule)) return !choice.entry || choice.entry->spacing;
  if (schedule == "default" || schedule == "normal") return true;
  if (choice.entry && choice.entry->edm) return schedule == "karras" || schedule == "exponential";
  if (schedule == "lu") return choice.entry && choice.entry->lu;
  return choice.entry ? choice.entry->sigmas : choice.solver->class_name != nullptr;
}

void apply_sigma_schedule(const std::string& schedule, SchedulerConfig& config) {
  if (schedule == "default") return;
  if (is_spacing(schedule)) {
    config.set("timestep_spacing", schedule);
    return;
  }
  for (const char* name : {"karras", "exponential", "beta"})
    config.set(("use_" + std::string(name) + "_sigmas").c_str(), schedule == name);
  config.set("use_lu_lambdas", schedule == "lu");
  if (schedule == "karras" || schedule == "exponential") config.set("sigma_schedule", schedule);
}

void check_options(const SamplerOptions& options) {
  constexpr int kMaxSteps = 10000;
  const auto check = [](const char* option, double value, double min, double max) {
    if (!(value >= min && value <= max))
      fail(ErrorCode::invalid_argument, "--{}: expected a number from {} to {}, found {}", option, min, max, value);
  };
  if (options.steps < 1 || options.steps > kMaxSteps)
    fail(ErrorCode::invalid_argument, "--steps: expected 1 to {}, found {}", kMaxSteps, options.steps);
  if (options.eta) check("eta", *options.eta, 0, 1);
  check("s-churn", options.s_churn, 0, 1e6);
  check("s-tmin", options.s_tmin, 0, 1e6);
  check("s-tmax", options.s_tmax, 0, HUGE_VAL);
  check("s-noise", options.s_noise, 0, 100);
  check("rtol", options.rtol, 1e-6, 1e3);
  check("atol", options.atol, 1e-6, 1e3);
  if (options.rho) check("rho", *options.rho, 0.01, 100);
  if (!(options.denoise > 0 && options.denoise <= 1))
    fail(ErrorCode::invalid_argument, "--denoise: expected above 0 and up to 1, found {}", options.denoise);
  if (!(options.strength > 0 && options.strength <= 1))
    fail(ErrorCode::invalid_argument, "--strength: expected above 0 and up to 1, found {}", options.strength);
  if (options.strength != 1 && options.denoise != 1)
    fail(ErrorCode::invalid_argument, "--strength {}: expected without --denoise {}, which says the same",
         options.strength, options.denoise);
  if (options.strength != 1 && options.start_step != 0)
    fail(ErrorCode::invalid_argument, "--strength {}: expected without --start-step {}, which says the same",
         options.strength, options.start_step);
  if (!options.sigmas.empty() && options.strength != 1)
    fail(ErrorCode::invalid_argument, "--sigmas: expected without --strength {}, which cuts a named schedule",
         options.strength);
  if (!options.sigmas.empty() && options.denoise != 1)
    fail(ErrorCode::invalid_argument, "--sigmas: expected without --denoise {}, which cuts a named schedule",
         options.denoise);
  if (!options.sigmas.empty() && options.sigma_schedule && *options.sigma_schedule != "default")
    fail(ErrorCode::invalid_argument, "--sigmas: expected without --scheduler {}",
         printable(*options.sigma_schedule, 40));
}

Choice choose(const nlohmann::json& config, const std::string& name, std::string& schedule, SchedulerConfig& fields) {
  std::string wanted = name;
  if (name.empty()) {
    const auto found = config.find("_class_name");
    if (found == config.end() || !found->is_string())
      fail(ErrorCode::io, "scheduler_config.json: _class_name: expected a scheduler's class name, found {}",
           found == config.end()
               ? "none"
               : printable(found->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), 40));
    wanted = found->get<std::string>();
  }
  const std::string key = normalized(wanted);
  Choice choice = find_choice(key, fields);
  // "DPM++ 2M Karras": the web UI once had the schedule in the sampler's name.
  for (const char* tail : {"_karras", "_exponential"})
    if (!choice.entry && !choice.solver && schedule.empty() && key.ends_with(tail)) {
      choice = find_choice(key.substr(0, key.size() - std::string_view(tail).size()), fields);
      if (choice.entry || choice.solver) schedule = tail + 1;
    }
  if (choice.entry || choice.solver) return choice;
  std::vector<std::string> names = sampler_names();
  for (const Entry& entry : kEntries) names.emplace_back(entry.class_name);
  for (std::string& class_name : solver_class_names()) names.push_back(std::move(class_name));
  if (name.empty())
    fail(ErrorCode::unsupported, "scheduler_config.json: _class_name: unknown scheduler \"{}\"{}",
         printable(wanted, 60), near_names(key, names));
  fail(ErrorCode::invalid_argument, "--sampler: unknown sampler \"{}\"{}", printable(wanted, 60),
       near_names(key, names));
}

}  // namespace

namespace {

// What strength means: in diffusers' reading the first iteration, in ComfyUI's `denoise`.
SamplerOptions with_strength(SamplerOptions options, bool comfy) {
  if (options.strength == 1) return options;
  if (comfy) {
    options.denoise = options.strength;
  } else {
    const int kept = static_cast<int>(options.steps * options.strength);
    if (kept < 1)
      fail(ErrorCode::invalid_argument, "--strength {}: expected to leave a step, found none of --steps {}",
           options.strength, options.steps);
    options.start_step = options.steps - kept;
  }
  options.strength = 1;
  return options;
}

// denoising_start and denoising_end as start_step and end_step, which only the timesteps of the whole schedule tell.
SamplerOptions with_hand_over(const nlohmann::json& config, const std::string& name, const SamplerOptions& given) {
  SamplerOptions options = given;
  const auto check = [](const char* option, const std::optional<double>& value) {
    if (value && !(*value >= 0 && *value <= 1))
      fail(ErrorCode::invalid_argument, "--{}: expected 0 to 1, found {}", option, *value);
  };
  check("denoising-start", given.denoising_start);
  check("denoising-end", given.denoising_end);
  const char* option = given.denoising_start ? "--denoising-start" : "--denoising-end";
  if (given.start_step != 0 || given.end_step || given.strength != 1)
    fail(ErrorCode::invalid_argument, "{}: expected without --strength, --start-step and --end-step", option);
  options.denoising_start.reset();
  options.denoising_end.reset();
  const std::vector<NoiseLevel> levels = make_sampler(config, name, options)->levels();
  const double trained = static_cast<double>(
      SchedulerConfig(config).integer("num_train_timesteps", 1000, 1, std::numeric_limits<int32_t>::max()));
  // Iterations before the part that begins at this share.
  const auto count_before = [&](double share) {
    const double cutoff = std::nearbyint(trained - share * trained);
    return static_cast<int>(std::count_if(levels.begin(), levels.end(), [&](const NoiseLevel& level) {
      return level.timestep && *level.timestep >= cutoff;
    }));
  };
  const int steps = static_cast<int>(levels.size()) - 1;
  options.start_step = given.denoising_start ? count_before(*given.denoising_start) : 0;
  if (given.denoising_end && *given.denoising_end < 1) options.end_step = count_before(*given.denoising_end);
  if (options.start_step >= steps || options.end_step.value_or(steps) <= options.start_step)
    fail(ErrorCode::invalid_argument, "{}: expected to leave a step of {}, found none", option, steps);
  return options;
}

}  // namespace

std::unique_ptr<Sampler> make_sampler(const nlohmann::json& config, const std::string& name,
                                      const SamplerOptions& given) {
  if (given.denoising_start || given.denoising_end)
    return make_sampler(config, name, with_hand_over(config, name, given));
  check_options(given);
  SamplerOptions options = given;
  SchedulerConfig fields(config);
  std::string schedule = options.sigma_schedule.value_or("");
  if (!schedule.empty()) schedule = normalized(schedule);
  for (const auto& [label, known] : kScheduleAliases)
    if (schedule == label) schedule = known;
  Choice choice = choose(config, name, schedule, fields);
  match_network(config, name, choice, fields);
  if (schedule == "default") schedule = "";
  const char* shown = choice.entry ? choice.entry->name : choice.solver->name;
  const std::vector<std::string> known = sigma_schedule_names();
  if (!schedule.empty() && std::find(known.begin(), known.end(), schedule) == known.end())
    fail(ErrorCode::invalid_argument, "--scheduler: unknown schedule \"{}\"{}", printable(schedule, 40),
         near_names(schedule, known));

  const std::string option = comfy_option(options);
  const bool comfy = choice.comfy || !option.empty() || (!schedule.empty() && !has_schedule(choice, schedule));
  options = with_strength(options, comfy);
  if (!comfy) {
    if (!schedule.empty()) apply_sigma_schedule(schedule, fields);
    if (!choice.entry) return make_configured_sampler(*choice.solver, fields, options);
    auto scheduler = choice.entry->make(fields, options);
    scheduler->set_iterations(options.start_step, options.end_step.value_or(std::numeric_limits<int>::max()));
    return scheduler;
  }
  if (!choice.solver && !option.empty())
    fail(ErrorCode::invalid_argument, "{}: --sampler {} has its own schedule; use another --sampler", option, shown);
  const std::vector<std::string> own = schedule_names();
  const bool has = schedule.empty() || std::find(own.begin(), own.end(), schedule) != own.end();
  if (!choice.solver || !has)
    fail(ErrorCode::invalid_argument, "--scheduler {}: --sampler {} has no such schedule; use {}", schedule, shown,
         schedule == "lu"       ? "--sampler dpm_solver++"
         : is_spacing(schedule) ? "simple, sgm_uniform or karras"
                                : "--sampler euler or dpm_solver++");
  return make_scheduled_sampler(*choice.solver, fields, schedule, options);
}

std::unique_ptr<Scheduler> make_scheduler(const nlohmann::json& config, const std::string& name,
                                          const SamplerOptions& options) {
  std::unique_ptr<Sampler> sampler = make_sampler(config, name, options);
  if (auto* scheduler = dynamic_cast<Scheduler*>(sampler.get())) {
    static_cast<void>(sampler.release());
    return std::unique_ptr<Scheduler>(scheduler);
  }
  fail(ErrorCode::invalid_argument, "--sampler {}: expected a sampler that is stepped by hand", printable(name, 60));
}

std::vector<std::string> sampler_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  for (const std::string& name : solver_names())
    if (!find_entry(name)) names.push_back(name);
  for (const Alias& alias : kAliases)
    if (std::find(names.begin(), names.end(), alias.alias) == names.end()) names.emplace_back(alias.alias);
  return names;
}

std::vector<std::string> sigma_schedule_names() {
  std::vector<std::string> names(std::begin(kSigmaSchedules), std::end(kSigmaSchedules));
  for (std::string& name : schedule_names())
    if (!is_one_of(name, kSigmaSchedules)) names.push_back(std::move(name));
  return names;
}

int64_t steps_offset_of(const SchedulerConfig& config) { return config.integer("steps_offset", 0, 0, 1000000); }

void check_steps(const SamplerOptions& options, int64_t num_train_timesteps) {
  if (options.steps > num_train_timesteps)
    fail(ErrorCode::invalid_argument,
         "--steps: expected at most {}, the network's number of training timesteps, found {}", num_train_timesteps,
         options.steps);
}

void check_not_pure_noise(float alpha_bar, bool unbounded) {
  if (alpha_bar == 0.0f && unbounded)
    fail(
        ErrorCode::unsupported,
        "scheduler_config.json: rescale_betas_zero_snr: prediction_type epsilon cannot start from pure noise; expected "
        "v_prediction or sample, or timestep_spacing leading");
}

}  // namespace easel::sampling
