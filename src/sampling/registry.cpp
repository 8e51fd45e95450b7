// The names samplers go by, and what a configuration and the options make of them.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "sampling/samplers.h"

namespace easel::sampling {

namespace {

struct Entry {
  const char* name;        // the short name
  const char* class_name;  // in diffusers
  std::unique_ptr<Sampler> (*make)(const SchedulerConfig&, const SamplerOptions&);
  bool sigmas;  // has use_karras_sigmas and its like
  bool lu;      // has use_lu_lambdas
};

constexpr Entry kEntries[] = {
    {"ddpm", "DDPMScheduler", make_ddpm, false, false},
    {"ddim", "DDIMScheduler", make_ddim, false, false},
    {"pndm", "PNDMScheduler", make_pndm, false, false},
    {"dpm_solver++", "DPMSolverMultistepScheduler", make_dpm_solver, true, true},
    {"euler", "EulerDiscreteScheduler", make_euler, true, false},
    {"euler_ancestral", "EulerAncestralDiscreteScheduler", make_euler_ancestral, false, false},
};

// Other names; a preset is laid over the configuration.
struct Alias {
  const char* alias;
  const char* name;
  const char* preset;
};

constexpr Alias kAliases[] = {
    {"plms", "pndm", ""},
    {"dpmsolver++", "dpm_solver++", ""},
    {"dpmpp_2m", "dpm_solver++", ""},
    {"dpm++_2m", "dpm_solver++", ""},
    {"dpmpp_3m", "dpm_solver++", R"({"solver_order": 3})"},
    {"dpmpp_2m_sde", "dpm_solver++", R"({"algorithm_type": "sde-dpmsolver++"})"},
    {"dpmpp_3m_sde", "dpm_solver++", R"({"algorithm_type": "sde-dpmsolver++", "solver_order": 3})"},
    {"dpm_solver", "dpm_solver++", R"({"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"})"},
    {"dpmsolver", "dpm_solver++", R"({"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"})"},
    {"sde_dpm_solver++", "dpm_solver++", R"({"algorithm_type": "sde-dpmsolver++"})"},
    {"euler_a", "euler_ancestral", ""},
    {"euler_discrete", "euler", ""},
    {"euler_ancestral_discrete", "euler_ancestral", ""},
};

constexpr const char* kSigmaSchedules[] = {"default", "normal",   "karras",  "exponential", "beta",
                                           "lu",      "linspace", "leading", "trailing"};

// "DPM-Solver++" and "dpm_solver++" are the same.
std::string normalized(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '-' || c == ' ')
      out += '_';
    else
      out += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  }
  return out;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

const Entry* find_entry(const std::string& wanted) {
  for (const Entry& entry : kEntries)
    if (wanted == entry.name || wanted == normalized(entry.class_name)) return &entry;
  return nullptr;
}

// The names closest to the wanted one; all short names where nothing is close.
std::string near_names(const std::string& wanted) {
  std::vector<std::pair<size_t, std::string>> ranked;
  const auto consider = [&](std::string_view name) {
    const std::string key = normalized(name);
    const bool part = wanted.size() >= 3 && key.find(wanted) != std::string::npos;
    const size_t distance = edit_distance(std::string_view(wanted).substr(0, 80), key);
    if (part || distance <= 1 + key.size() / 4) ranked.emplace_back(part ? 1 : distance, name);
  };
  for (const Entry& entry : kEntries) consider(entry.name), consider(entry.class_name);
  for (const Alias& alias : kAliases) consider(alias.alias);
  std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string out;
  for (size_t i = 0; i < ranked.size() && i < 3; ++i) out += (i ? ", " : "; did you mean ") + ranked[i].second;
  if (!out.empty()) return out + "?";
  for (const Entry& entry : kEntries) out += (out.empty() ? "; known: " : ", ") + std::string(entry.name);
  return out;
}

void apply_sigma_schedule(const Entry& entry, const std::string& schedule, SchedulerConfig& config) {
  if (std::find(std::begin(kSigmaSchedules), std::end(kSigmaSchedules), schedule) == std::end(kSigmaSchedules)) {
    std::string known;
    for (const char* name : kSigmaSchedules) known += (known.empty() ? "" : ", ") + std::string(name);
    fail(ErrorCode::invalid_argument, "--scheduler: expected one of {}, found \"{}\"", known, printable(schedule, 40));
  }
  if (schedule == "default") return;
  if (schedule == "linspace" || schedule == "leading" || schedule == "trailing") {
    config.set("timestep_spacing", schedule);
    return;
  }
  if (schedule != "normal" && (!entry.sigmas || (schedule == "lu" && !entry.lu)))
    fail(ErrorCode::invalid_argument, "--scheduler {}: --sampler {} has no such spacing; use it with {}", schedule,
         entry.name, schedule == "lu" ? "dpm_solver++" : "euler or dpm_solver++");
  for (const char* name : {"karras", "exponential", "beta"})
    config.set(("use_" + std::string(name) + "_sigmas").c_str(), schedule == name);
  config.set("use_lu_lambdas", schedule == "lu");
}

}  // namespace

std::unique_ptr<Sampler> make_sampler(const nlohmann::json& config, const std::string& name,
                                      const SamplerOptions& options) {
  constexpr int kMaxSteps = 10000;
  if (options.steps < 1 || options.steps > kMaxSteps)
    fail(ErrorCode::invalid_argument, "--steps: expected 1 to {}, found {}", kMaxSteps, options.steps);
  if (!(options.eta >= 0 && options.eta <= 1))
    fail(ErrorCode::invalid_argument, "eta: expected a number from 0 to 1, found {}", options.eta);
  SchedulerConfig fields(config);

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
  std::string key = normalized(wanted);
  for (const Alias& alias : kAliases) {
    if (key != alias.alias) continue;
    key = alias.name;
    if (*alias.preset) {
      const nlohmann::json preset = nlohmann::json::parse(alias.preset);
      for (const auto& [field, value] : preset.items()) fields.set(field.c_str(), value);
    }
    break;
  }
  const Entry* entry = find_entry(key);
  if (!entry && name.empty())
    fail(ErrorCode::unsupported, "scheduler_config.json: _class_name: unknown scheduler \"{}\"{}",
         printable(wanted, 60), near_names(key));
  if (!entry)
    fail(ErrorCode::invalid_argument, "--sampler: unknown sampler \"{}\"{}", printable(wanted, 60), near_names(key));
  if (options.sigma_schedule) apply_sigma_schedule(*entry, *options.sigma_schedule, fields);
  return entry->make(fields, options);
}

std::vector<std::string> sampler_names() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  for (const Alias& alias : kAliases) names.emplace_back(alias.alias);
  return names;
}

std::vector<std::string> sigma_schedule_names() { return {std::begin(kSigmaSchedules), std::end(kSigmaSchedules)}; }

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
