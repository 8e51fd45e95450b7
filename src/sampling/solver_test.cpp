// The solvers against a second implementation (tests/goldens/make_solvers.py), against diffusers, and against what is
// known of them: their order, their tolerances, how often they call.
#include "sampling/solvers.h"

#include <algorithm>
#include <set>

#include <easel/error.h>

#include "sampling/allocation_count_test.h"
#include "sampling/golden_test.h"
#include "sampling/schedules.h"
#include "sampling/sigma_sampler.h"
#include "sampling/toy_test.h"

namespace easel::sampling {
namespace {

const Shape kShape{2, 2, 1, 3};
constexpr size_t kSize = 12;

// The network of make_solvers.py; `twist` spoils it.
class ToyNetwork final : public Model {
 public:
  explicit ToyNetwork(const nlohmann::json& c = nlohmann::json::object(), float twist = 0)
      : pace_(c.value("pace", 0.004)), twist_(twist) {}
  void predict(const ModelCall& call) override {
    ++calls;
    EXPECT_GE(call.step, last_step_);
    last_step_ = call.step;
    for (size_t j = 0; j < call.input.size(); ++j) {
      const double y = call.input[j];
      const double out = 0.8 * y + 0.3 * std::cos(2 * y + pace_ * call.timestep + static_cast<double>(j)) + twist_;
      call.output[j] = static_cast<float>(out);
      if (!call.unconditional.empty()) call.unconditional[j] = static_cast<float>(out + 0.1 * std::sin(3 * y));
    }
  }
  int calls = 0;

 private:
  double pace_;
  float twist_;
  int last_step_ = 0;
};

std::vector<std::vector<float>> run(Sampler& sampler, Model& model) {
  std::vector<float> sample(kSize);
  TorchGenerator(7).randn(sample);
  sampler.start({}, sample);
  GeneratorNoise noise(13);
  std::vector<std::vector<float>> latents;
  sampler.run(model, sample, kShape, noise,
              [&](int, std::span<const float> x) { latents.emplace_back(x.begin(), x.end()); });
  EXPECT_EQ(latents.back(), sample);
  return latents;
}

SamplerOptions options_of(const nlohmann::json& c) {
  SamplerOptions options;
  options.steps = c.at("steps").get<int>();
  options.denoise = c.value("denoise", 1.0);
  if (c.contains("eta")) options.eta = c["eta"].get<double>();
  if (c.contains("schedule")) options.sigma_schedule = c["schedule"].get<std::string>();
  if (c.contains("sigmas")) {  // a Brownian path is another one where a level differs in its last bits
    const auto sigmas = floats_of(c["sigmas"].get<std::string>());
    options.sigmas.assign(sigmas.begin(), sigmas.end());
    options.sigma_schedule.reset();
    options.denoise = 1;
  }
  return options;
}

std::string label(const nlohmann::json& c) {
  return c["name"].get<std::string>() + " " + c.value("schedule", "") + " " + c["steps"].dump() + " " +
         c["config"].value("prediction_type", "") + (c.contains("eta") ? " eta" : "");
}

// 1e-5, but where float32 is no match for the method: Adams–Bashforth of order 3 and 4 extrapolates the first long step
// of linear_quadratic from steps a hundred times shorter (rounding the network's output to float32 alone, with all else
// in float64, moves lms over 8 steps by 7e-5), and a step size that adapts moves all that follow.
double bound(const nlohmann::json& c) {
  static const std::set<std::string> adams = {"lms", "ipndm_v", "deis"};
  if (c["name"] == "dpm_adaptive") return 1e-4;
  return c["schedule"] == "linear_quadratic" && adams.contains(c["name"].get<std::string>()) ? 1e-3 : 1e-5;
}

TEST(Solvers, FollowTheReferenceStepByStep) {
  const nlohmann::json golden = load_golden("solvers.json");
  std::set<std::string> seen;
  double worst = 0;
  std::string worst_label;
  size_t compared = 0;
  for (const auto& c : golden.at("cases")) {
    SCOPED_TRACE(label(c));
    seen.insert(c["name"].get<std::string>());
    const auto sampler = make_sampler(c["config"], "k_" + c["name"].get<std::string>(), options_of(c));
    ToyNetwork network(c);
    const auto latents = run(*sampler, network);
    if (sampler->model_calls() > 0) {
      EXPECT_EQ(network.calls, sampler->model_calls());
    }
    const auto& expected = c["latents"];
    ASSERT_LE(expected.size(), latents.size());
    if (expected.size() > 1) {
      ASSERT_EQ(expected.size(), latents.size());
    }
    for (size_t k = 0; k < expected.size(); ++k) {
      const double error =
          relative_l2(latents[latents.size() - expected.size() + k], floats_of(expected[k].get<std::string>()));
      EXPECT_LT(error, bound(c)) << "step " << latents.size() - expected.size() + k;
      if (error > worst) worst = error, worst_label = label(c);
      ++compared;
    }
  }
  for (const std::string& name : solver_names())
    if (!name.ends_with("_gpu") && name != "lms_discrete" && name != "dpmsolver_sde" && name != "flow_match_euler") {
      EXPECT_TRUE(seen.contains(name)) << name;
    }
  std::printf("%zu samples compared, worst relative L2 %.2e (%s)\n", compared, worst, worst_label.c_str());
}

TEST(Solvers, TheComparisonCanFail) {
  const nlohmann::json golden = load_golden("solvers.json");
  for (const auto& c : golden.at("cases")) {
    const auto sampler = make_sampler(c["config"], "k_" + c["name"].get<std::string>(), options_of(c));
    ToyNetwork network(c, 0.05f);
    const auto latents = run(*sampler, network);
    EXPECT_GT(relative_l2(latents.back(), floats_of(c["latents"].back().get<std::string>())), 10 * bound(c))
        << label(c);
  }
}

TEST(Solvers, EqualDiffusersWhereItHasThem) {
  const nlohmann::json golden = load_golden("diffusers_solvers.json");
  ASSERT_GE(golden.at("cases").size(), 18u);
  double worst = 0;
  for (const auto& c : golden["cases"]) {
    const auto sampler = make_sampler(c["config"], c["name"].get<std::string>(), options_of(c));
    ToyNetwork network(c);
    const double error = relative_l2(run(*sampler, network).back(), floats_of(c["latents"].back().get<std::string>()));
    // A Brownian path is another one where a level differs in its last bits, and those are the reference's own
    // (logarithms and square roots in float32): its increments over the steps then differ by a part in a thousand.
    const bool brownian = c["name"] == "DPMSolverSDEScheduler";
    EXPECT_LT(error, brownian ? 1e-3 : 1e-5) << c["name"] << c["config"];
    if (!brownian) worst = std::max(worst, error);
  }
  std::printf("worst relative L2 %.2e\n", worst);
}

TEST(Schedules, FollowTheReference) {
  const nlohmann::json golden = load_golden("sigma_schedules.json");
  ASSERT_GE(golden.at("cases").size(), 50u);
  for (const auto& c : golden["cases"]) {
    const ModelSampling network{SchedulerConfig(c["config"]), TimestepRule::nearest};
    ScheduleOptions options;
    options.steps = c["steps"].get<int>();
    const auto sigmas = make_sigmas(c["schedule"].get<std::string>(), network, options);
    const auto want = floats_of(c["sigmas"].get<std::string>());
    ASSERT_EQ(sigmas.size(), want.size()) << c["schedule"] << c["steps"];
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(sigmas[i], want[i], 3e-6 * want[i]) << c["schedule"] << c["steps"] << " " << i;
  }
}

TEST(Schedules, WhatCannotBeIsRefused) {
  const ModelSampling network(SchedulerConfig(nlohmann::json::object()), TimestepRule::nearest);
  const auto refused = [&](const std::string& name, const ScheduleOptions& options) {
    try {
      make_sigmas(name, network, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  EXPECT_NE(refused("simpel", {}).find("did you mean simple"), std::string::npos);
  EXPECT_NE(refused("turbo", {.steps = 11}).find("--steps"), std::string::npos);
  EXPECT_NE(refused("turbo", {.steps = 6, .denoise = 0.5}).find("--denoise"), std::string::npos);
  EXPECT_NE(refused("karras", {.steps = 9000, .denoise = 0.5}).find("10000"), std::string::npos);
  EXPECT_NE(refused("simple", {.steps = 2000}).find("fewer steps"), std::string::npos);
  for (const std::vector<double>& bad : std::vector<std::vector<double>>{
           {}, {1}, {1, 1}, {1, 2}, {1, -1}, {std::nan(""), 0}, {HUGE_VAL, 1}, {2, std::nan("")}})
    EXPECT_THROW(check_sigmas(bad), Error);
  EXPECT_NO_THROW(check_sigmas({2, 1, 0}));
}

// ---- order of convergence
// --------------------------------------------------------------------------------------------

struct Order {
  Solver solve;
  double order;
  const char* name;
  bool even;  // levels evenly in σ, which the method supposes
};

// The largest error of a run over n steps from σ = 10 to σ = 0.1 for data that is normal.
double error_of(const Order& method, int n, const ModelSampling& network, double eta = 0) {
  NormalData data(0.7, [&](double t) { return network.sigma(t); });
  std::vector<double> sigmas;
  constexpr double high = 10, low = 0.1, rho = 3;
  for (int i = 0; i <= n; ++i) {
    const double u = static_cast<double>(i) / n;
    sigmas.push_back(method.even ? high + u * (low - high)
                                 : std::pow((1 - u) * std::pow(high, 1 / rho) + u * std::pow(low, 1 / rho), rho));
  }
  std::vector<float> x(kSize), start(kSize);
  TorchGenerator(5).randn(x);
  for (float& value : x) value *= 10;
  start = x;
  GeneratorNoise noise(1);
  SamplerOptions options;
  SolverRun run({network, sigmas, {}, options, SolverNoise::gaussian, false, eta}, data, x, kShape, noise, {});
  method.solve(run);
  double worst = 0;
  for (size_t j = 0; j < kSize; ++j) worst = std::max(worst, std::fabs(x[j] - data.solution(start[j], high, low, j)));
  return worst;
}

// Methods that begin with an Euler step keep the error of that step, of order 2 in all.
TEST(Solvers, HalvingTheStepDividesTheErrorByTwoToTheOrder) {
  const Order methods[] = {
      {solve_euler, 1, "euler", false},
      {solve_euler_ancestral, 1, "euler_ancestral", false},
      {solve_heun, 2, "heun", false},
      {solve_dpm_2, 2, "dpm_2", false},
      {solve_dpm_2_ancestral, 2, "dpm_2_ancestral", false},
      {solve_lms, 2, "lms", false},
      {solve_ipndm, 2, "ipndm", true},
      {solve_ipndm_v, 2, "ipndm_v", true},
      {solve_deis, 2, "deis", false},
      {solve_dpm_fast, 2, "dpm_fast", false},
      {solve_dpmpp_2s_ancestral, 2, "dpmpp_2s_ancestral", false},
      {solve_dpmpp_2m, 2, "dpmpp_2m", false},
      {solve_dpmpp_sde, 2, "dpmpp_sde", false},
      {solve_dpmpp_2m_sde, 2, "dpmpp_2m_sde", false},
      {solve_dpmpp_2m_sde_heun, 2, "dpmpp_2m_sde_heun", false},
      {solve_dpmpp_3m_sde, 2, "dpmpp_3m_sde", false},
      {solve_res_multistep, 2, "res_multistep", false},
      {solve_gradient_estimation, 1, "gradient_estimation", false},
      {solve_seeds_2, 2, "seeds_2", false},
      {solve_seeds_3, 3, "seeds_3", false},
  };
  const ModelSampling network(SchedulerConfig(nlohmann::json::object()), TimestepRule::interpolated);
  for (const Order& method : methods) {
    const double coarse = error_of(method, 24, network), fine = error_of(method, 48, network);
    const double measured = std::log2(coarse / fine);
    std::printf("%-20s error %.2e, %.2e: order %.2f\n", method.name, coarse, fine, measured);
    EXPECT_GT(measured, method.order - 0.4) << method.name;
    EXPECT_LT(fine, method.order == 1 ? 0.5 : 0.05) << method.name;
  }
}

TEST(Solvers, AdaptiveStepsKeepTheTolerance) {
  const ModelSampling network(SchedulerConfig(nlohmann::json::object()), TimestepRule::interpolated);
  double last_error = HUGE_VAL;
  size_t last_calls = 0;
  for (const double tolerance : {0.1, 0.01, 0.001}) {
    NormalData data(0.7, [&](double t) { return network.sigma(t); });
    const std::vector<double> levels = {10, 5, 0.1};
    std::vector<float> x(kSize);
    TorchGenerator(5).randn(x);
    for (float& value : x) value *= 10;
    const std::vector<float> start = x;
    GeneratorNoise noise(1);
    SamplerOptions options;
    options.rtol = options.atol = tolerance;
    SolverRun run({network, levels, {}, options, SolverNoise::gaussian, false, 0}, data, x, kShape, noise, {});
    solve_dpm_adaptive(run);
    double worst = 0;
    for (size_t j = 0; j < kSize; ++j) worst = std::max(worst, std::fabs(x[j] - data.solution(start[j], 10, 0.1, j)));
    EXPECT_LT(worst, 5 * tolerance);  // the error of a step is tested, not that of all
    EXPECT_LT(worst, last_error);
    EXPECT_GT(data.timesteps.size(), last_calls);
    last_error = worst;
    last_calls = data.timesteps.size();
  }
}

// With fresh noise the samples keep the distribution of the data: mean and deviation at the end.
TEST(Solvers, NoiseKeepsTheDistribution) {
  constexpr int64_t kMany = 60000;
  const ModelSampling network(SchedulerConfig(nlohmann::json::object()), TimestepRule::interpolated);
  const std::vector<double> sigmas = [] {
    std::vector<double> out;
    for (int i = 0; i <= 120; ++i) out.push_back(std::pow(10.0, 1 - i / 60.0));
    out.push_back(0);
    return out;
  }();
  const std::pair<const char*, Solver> methods[] = {{"euler_ancestral", solve_euler_ancestral},
                                                    {"dpm_2_ancestral", solve_dpm_2_ancestral},
                                                    {"dpmpp_2s_ancestral", solve_dpmpp_2s_ancestral},
                                                    {"dpmpp_sde", solve_dpmpp_sde},
                                                    {"dpmpp_2m_sde", solve_dpmpp_2m_sde},
                                                    {"dpmpp_3m_sde", solve_dpmpp_3m_sde},
                                                    {"ddpm", solve_ddpm},
                                                    {"res_multistep", solve_res_multistep},
                                                    {"er_sde", solve_er_sde},
                                                    {"seeds_2", solve_seeds_2},
                                                    {"seeds_3", solve_seeds_3},
                                                    {"sa_solver", solve_sa_solver}};
  for (const auto& [name, solve] : methods) {
    constexpr double deviation = 0.7;
    NormalData data(deviation, [&](double t) { return network.sigma(t); });
    std::vector<float> x(kMany);
    TorchGenerator(5).randn(x);
    for (size_t j = 0; j < x.size(); ++j)  // as the data with noise of σ = 10
      x[j] = static_cast<float>(NormalData::mean(j) + x[j] * std::sqrt(100 + deviation * deviation));
    GeneratorNoise noise(3);
    SamplerOptions options;
    const Shape shape{1, kMany};
    SolverRun run({network, sigmas, {}, options, SolverNoise::gaussian, false, 1}, data, x, shape, noise, {});
    solve(run);
    double mean = 0, square = 0;
    for (size_t j = 0; j < x.size(); ++j) {
      const double d = x[j] - NormalData::mean(j);
      mean += d / kMany;
      square += d * d / kMany;
    }
    EXPECT_NEAR(mean, 0, 0.015) << name;
    EXPECT_NEAR(std::sqrt(square), deviation, 0.03) << name;
  }
}

// ---- the sampler around a solver
// -------------------------------------------------------------------------------------

const nlohmann::json kConfig = {{"_class_name", "DDIMScheduler"}, {"beta_schedule", "scaled_linear"}};

TEST(SigmaSampler, StartAndEndStepsJoin) {
  for (const char* name : {"k_euler", "k_dpmpp_2m", "heun", "euler", "ddim"}) {
    const bool multistep = std::string_view(name) == "k_dpmpp_2m";
    SamplerOptions options;
    options.steps = 10;
    options.eta = 0;
    ToyNetwork network, part, again;
    const auto whole = run(*make_sampler(kConfig, name, options), network);
    SamplerOptions first = options, second = options;
    first.end_step = 4;
    second.start_step = 4;
    const auto head = run(*make_sampler(kConfig, name, first), part);
    ASSERT_EQ(head.size(), 4u);
    EXPECT_EQ(head.back(), whole[3]) << name;
    std::vector<float> sample = head.back();
    GeneratorNoise noise(13);
    make_sampler(kConfig, name, second)->run(again, sample, kShape, noise, {});
    if (!multistep) {  // which begins anew without its memory
      EXPECT_EQ(sample, whole.back()) << name;
    }
  }
}

TEST(SigmaSampler, StepsAllocateNothing) {
  class Silent final : public Model {
   public:
    void predict(const ModelCall& call) override {
      for (size_t j = 0; j < call.input.size(); ++j) call.output[j] = 0.5f * call.input[j];
      std::fill(call.unconditional.begin(), call.unconditional.end(), 0.1f);
    }
  };
  std::vector<std::string> names = sampler_names();
  for (const std::string& name : solver_names()) names.push_back("k_" + name);
  for (const std::string& name : names) {
    if (name.ends_with("flow_match_euler")) continue;  // euler, for other networks
    SamplerOptions options;
    options.steps = 30;
    if (name.starts_with("k_")) options.sigma_schedule = "karras";
    nlohmann::json config = kConfig;
    config["thresholding"] = true;  // where the class has it
    const auto sampler = make_sampler(config, name, options);
    std::vector<float> sample(kSize, 1.0f);
    std::vector<size_t> counts;
    counts.reserve(1000);
    GeneratorNoise noise(1);
    Silent network;
    sampler->run(network, sample, kShape, noise,
                 [&](int, std::span<const float>) { counts.push_back(allocation_count()); });
    // A Brownian tree may go one level deeper than before.
    const size_t spared = name.find("sde") != std::string::npos ? 24 : 0;
    const size_t first = std::min<size_t>(16, counts.size() / 2);  // after the Runge-Kutta steps of pndm
    EXPECT_LE(counts.back() - counts[first], spared) << name;
  }
}

TEST(SigmaSampler, ImpossibleCombinationsNameBothOptions) {
  const auto refused = [&](const char* name, const SamplerOptions& options, nlohmann::json config = kConfig) {
    try {
      make_sampler(config, name, options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  SamplerOptions options;
  options.start_step = 20;
  options.end_step = 10;
  for (const char* name : {"k_euler", "euler", "heun"}) {
    has(refused(name, options), "--end-step");
    has(refused(name, options), "--start-step");
  }
  options = {};
  options.start_step = 50;
  has(refused("k_euler", options), "--start-step");
  has(refused("ddim", options), "--start-step");
  options = {};
  options.sigmas = {1, 2, 0};
  has(refused("k_euler", options), "decreasing");
  options.sigmas = {2, 1, 0};
  options.sigma_schedule = "karras";
  has(refused("k_euler", options), "--scheduler karras");
  options.sigma_schedule.reset();
  options.denoise = 0.5;
  has(refused("k_euler", options), "--denoise");
  options = {};
  options.denoise = 0;
  has(refused("k_euler", options), "--denoise");
  options = {};
  options.denoise = 0.5;
  has(refused("plms", options), "--sampler pndm");
  has(refused("plms", options), "--denoise");
  options = {};
  options.sigma_schedule = "sgm_uniform";
  has(refused("plms", options), "--scheduler sgm_uniform");
  options.sigma_schedule = "leading";
  has(refused("res_multistep", options), "--scheduler leading");
  const nlohmann::json flow = {{"prediction_type", "flow_prediction"}};
  has(refused("k_dpmpp_sde", {}, flow), "flow_prediction");
  has(refused("k_seeds_2", {}, flow), "--sampler seeds_2");
  EXPECT_NO_THROW(make_sampler(flow, "k_euler", {}));
  // The other way round, and what diffusers' folders of flow-matching models say.
  has(refused("flow_match_euler", {}), "--sampler flow_match_euler: expected a network trained by flow matching");
  has(refused("FlowMatchEulerDiscreteScheduler", {}), "prediction_type");
  const nlohmann::json folder = {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 3.0}};
  has(refused("plms", {}, folder), "--sampler pndm");
  has(refused("plms", {}, folder), "flow_prediction");
  has(refused("uni_pc", {}, folder), "flow_prediction");
  EXPECT_NO_THROW(make_sampler(folder, "", {}));
  EXPECT_EQ(make_sampler(folder, "euler", {})->levels()[0].sigma, 1);  // its name in ComfyUI
  has(refused("dpmpp_2n_cfg_pp", {}), "dpmpp_2m_cfg_pp");
}

TEST(SigmaSampler, LabelsOfTheWebUi) {
  for (const char* name : {"Euler a",
                           "Heun",
                           "LMS",
                           "DPM2",
                           "DPM2 a",
                           "DPM++ 2S a",
                           "DPM++ SDE",
                           "DPM++ 2M SDE",
                           "DPM++ 2M SDE Heun",
                           "DPM++ 3M SDE",
                           "DPM fast",
                           "DPM adaptive",
                           "UniPC",
                           "LCM",
                           "DPM++ 2M Karras",
                           "DPM++ SDE Karras",
                           "Euler",
                           "DDIM",
                           "DDIM CFG++",
                           "PLMS",
                           "DPM++ 2M"})
    EXPECT_NE(make_sampler(kConfig, name, {}), nullptr) << name;
  for (const char* schedule : {"Automatic", "Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform",
                               "KL Optimal", "Align Your Steps", "Simple", "Normal", "DDIM", "Beta", "Turbo"}) {
    SamplerOptions options;
    options.steps = 10;
    options.sigma_schedule = schedule;
    EXPECT_NE(make_sampler(kConfig, "Euler", options), nullptr) << schedule;
  }
  SamplerOptions karras;
  karras.sigma_schedule = "karras";
  EXPECT_EQ(make_sampler(kConfig, "DPM++ SDE Karras", {})->levels()[3].sigma,
            make_sampler(kConfig, "dpmpp_sde", karras)->levels()[3].sigma);
}

// Straight paths: one Euler step is exact, and the shift moves the levels but not the network's time.
TEST(SigmaSampler, FlowMatching) {
  class Straight final : public Model {
   public:
    void predict(const ModelCall& call) override {
      for (size_t j = 0; j < call.input.size(); ++j) {
        const double sigma = call.timestep / 1000;
        const double noise = (call.input[j] - (1 - sigma) * 0.25) / sigma;  // for the clean sample 0.25
        call.output[j] = static_cast<float>(noise - 0.25);
      }
    }
  };
  for (const double shift : {1.0, 3.0})
    for (const char* name :
         {"k_euler", "k_heun", "k_dpmpp_2m", "k_lms", "k_euler_ancestral", "k_lcm", "k_dpmpp_2m_sde"}) {
      SamplerOptions options;
      options.steps = 4;
      options.sigma_schedule = "simple";
      const auto sampler = make_sampler({{"prediction_type", "flow_prediction"}, {"shift", shift}}, name, options);
      EXPECT_NEAR(sampler->levels()[2].sigma, shift * 0.5 / (1 + (shift - 1) * 0.5), 1e-6);
      EXPECT_NEAR(*sampler->levels()[0].timestep, 1000, 1e-3);
      Straight network;
      const std::vector<float> last = run(*sampler, network).back();
      for (const float value : last) EXPECT_NEAR(value, 0.25, 1e-5) << name;
    }
}

TEST(SigmaSampler, ChurnRaisesTheNoiseWithinItsLevels) {
  SamplerOptions options;
  options.steps = 6;
  const auto latents = [&] {
    ToyNetwork network;
    return run(*make_sampler(kConfig, "k_euler", options), network);
  };
  const auto plain = latents();
  options.s_churn = 2;
  EXPECT_NE(latents(), plain);
  options.s_tmin = 1000;
  EXPECT_EQ(latents(), plain);
  options.s_tmin = 0;
  options.s_noise = 0;
  EXPECT_NE(latents(), plain);
}

TEST(SigmaSampler, RefusesSamplesThatDoNotFit) {
  const auto sampler = make_sampler(kConfig, "k_euler", {});
  ToyNetwork network;
  GeneratorNoise noise(0);
  std::vector<float> sample(kSize);
  EXPECT_THROW(sampler->run(network, sample, {2, 3}, noise, {}), Error);
  EXPECT_THROW(sampler->run(network, sample, {12}, noise, {}), Error);
  EXPECT_THROW(sampler->start(std::vector<float>(3), sample), Error);
}

}  // namespace
}  // namespace easel::sampling
