#include "sampling/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include <easel/error.h>

#include "sampling/scheduler.h"
#include "sampling/sigma_sampler.h"

namespace easel::sampling {
namespace {

using nlohmann::json;

const char* const kClasses[] = {"DDPMScheduler",           "DDIMScheduler",
                                "PNDMScheduler",           "DPMSolverMultistepScheduler",
                                "EulerDiscreteScheduler",  "EulerAncestralDiscreteScheduler",
                                "UniPCMultistepScheduler", "DEISMultistepScheduler",
                                "SASolverScheduler"};

struct Failure {
  ErrorCode code = ErrorCode::internal;
  std::string message = "nothing was thrown";
};

Failure failure_of(const json& config, const std::string& name = "", SamplerOptions options = {}) {
  try {
    make_sampler(config, name, options);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << "more than one line";
    return {error.code(), error.what()};
  }
  return {};
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

const json kConfig = {{"_class_name", "DDIMScheduler"}, {"beta_schedule", "scaled_linear"}};

// A network that the sampler can run.
json network_for(const std::string& name) {
  return name.starts_with("flow") ? json{{"_class_name", "FlowMatchEulerDiscreteScheduler"}} : kConfig;
}

TEST(SchedulerConfig, BadFieldsAreNamed) {
  const std::vector<std::pair<const char*, json>> bad = {
      {"num_train_timesteps", -1},
      {"num_train_timesteps", 0},
      {"num_train_timesteps", 1e12},
      {"num_train_timesteps", 1000.5},
      {"num_train_timesteps", "1000"},
      {"num_train_timesteps", nullptr},
      {"num_train_timesteps", json::array({1000})},
      {"beta_start", std::nan("")},
      {"beta_start", "0.1"},
      {"beta_start", -0.1},
      {"beta_end", 1.5},
      {"beta_end", json::object()},
      {"beta_schedule", "cosine\nnot"},
      {"beta_schedule", 3},
      {"prediction_type", "noise"},
      {"prediction_type", nullptr},
      {"timestep_spacing", "uneven"},
      {"timestep_spacing", json::array()},
      {"steps_offset", -1},
      {"steps_offset", 1.5},
      {"trained_betas", json::array()},
      {"trained_betas", json::array({0.1, "x"})},
      {"trained_betas", json::array({0.1, 0.2})},
      {"trained_betas", std::vector<double>(1000, 2.0)},
      {"trained_betas", "0.1"},
  };
  for (const char* name : kClasses)
    for (const auto& [field, value] : bad) {
      json config = kConfig;
      config["_class_name"] = name;
      config[field] = value;
      const Failure failure = failure_of(config);
      EXPECT_HAS(failure.message, field);
      EXPECT_HAS(failure.message, "expected");
      EXPECT_HAS(failure.message, "found");
      EXPECT_TRUE(failure.code == ErrorCode::io || failure.code == ErrorCode::unsupported) << failure.message;
    }
}

TEST(SchedulerConfig, BadFieldsOfOneClass) {
  const std::vector<std::tuple<const char*, const char*, json>> bad = {
      {"DDPMScheduler", "variance_type", "fixed_tiny"},
      {"DDPMScheduler", "clip_sample", "yes"},
      {"DDPMScheduler", "clip_sample_range", -1},
      {"DDIMScheduler", "thresholding", 1},
      {"DDIMScheduler", "dynamic_thresholding_ratio", 1.5},
      {"DDIMScheduler", "sample_max_value", 0},
      {"DDIMScheduler", "set_alpha_to_one", "true"},
      {"DDIMScheduler", "rescale_betas_zero_snr", 2},
      {"DDIMScheduler", "beta_schedule", "sigmoid"},
      {"PNDMScheduler", "skip_prk_steps", 0},
      {"PNDMScheduler", "prediction_type", "sample"},
      {"DPMSolverMultistepScheduler", "solver_order", 4},
      {"DPMSolverMultistepScheduler", "solver_order", 0},
      {"DPMSolverMultistepScheduler", "solver_type", "rk4"},
      {"DPMSolverMultistepScheduler", "algorithm_type", "dpm"},
      {"DPMSolverMultistepScheduler", "final_sigmas_type", "one"},
      {"DPMSolverMultistepScheduler", "lambda_min_clipped", "low"},
      {"DPMSolverMultistepScheduler", "lambda_min_clipped", 1e9},
      {"DPMSolverMultistepScheduler", "use_flow_sigmas", true},
      {"DPMSolverMultistepScheduler", "prediction_type", "flow_prediction"},
      {"EulerDiscreteScheduler", "interpolation_type", "cubic"},
      {"EulerDiscreteScheduler", "timestep_type", "sometimes"},
      {"EulerDiscreteScheduler", "use_karras_sigmas", "yes"},
      {"EulerAncestralDiscreteScheduler", "prediction_type", "sample"},
      {"UniPCMultistepScheduler", "solver_order", 9},
      {"UniPCMultistepScheduler", "solver_type", "bh3"},
      {"UniPCMultistepScheduler", "predict_x0", "yes"},
      {"UniPCMultistepScheduler", "disable_corrector", 3},
      {"UniPCMultistepScheduler", "disable_corrector", json::array({0.5})},
      {"UniPCMultistepScheduler", "solver_p", json::object()},
      {"UniPCMultistepScheduler", "use_flow_sigmas", true},
      {"DEISMultistepScheduler", "solver_order", 4},
      {"DEISMultistepScheduler", "algorithm_type", "sde-dpmsolver++"},
      {"SASolverScheduler", "predictor_order", 5},
      {"SASolverScheduler", "corrector_order", 0},
      {"SASolverScheduler", "algorithm_type", "adams"},
      {"DPMSolverSinglestepScheduler", "solver_order", 4},
      {"DPMSolverSinglestepScheduler", "algorithm_type", "sde-dpmsolver"},
      {"EDMEulerScheduler", "sigma_data", 0},
      {"EDMEulerScheduler", "sigma_min", 100},
      {"EDMEulerScheduler", "sigma_schedule", "beta"},
      {"EDMEulerScheduler", "prediction_type", "sample"},
      {"EDMDPMSolverMultistepScheduler", "algorithm_type", "dpmsolver"},
      {"IPNDMScheduler", "trained_betas", json::array({0.5, "x"})},
      {"HeunDiscreteScheduler", "clip_sample", 1},
  };
  for (const auto& [name, field, value] : bad) {
    const Failure failure = failure_of({{"_class_name", name}, {field, value}});
    EXPECT_HAS(failure.message, field);
    EXPECT_HAS(failure.message, "expected");
  }
  EXPECT_HAS(
      failure_of({{"_class_name", "EulerDiscreteScheduler"}, {"use_karras_sigmas", true}, {"sigma_min", -1}}).message,
      "sigma_min");
  EXPECT_HAS(
      failure_of(
          {{"_class_name", "EulerDiscreteScheduler"}, {"use_karras_sigmas", true}, {"use_exponential_sigmas", true}})
          .message,
      "at most one");
  EXPECT_HAS(failure_of({{"_class_name", "DPMSolverMultistepScheduler"}, {"algorithm_type", "dpmsolver"}}).message,
             "final_sigmas_type");
}

TEST(SchedulerConfig, NoBetasThatDivideByZero) {
  EXPECT_HAS(failure_of({{"_class_name", "EulerDiscreteScheduler"}, {"beta_start", 0}, {"beta_end", 0}}).message,
             "beta_start");
  EXPECT_HAS(failure_of({{"_class_name", "DDIMScheduler"}, {"beta_start", 1}, {"beta_end", 1}}).message, "beta_start");
  // ᾱ = 0 and a network that predicts the noise: x0 would be 0/0.
  const Failure failure = failure_of({{"_class_name", "DDIMScheduler"},
                                      {"clip_sample", false},
                                      {"rescale_betas_zero_snr", true},
                                      {"timestep_spacing", "trailing"}});
  EXPECT_EQ(failure.code, ErrorCode::unsupported);
  EXPECT_HAS(failure.message, "rescale_betas_zero_snr");
}

TEST(SchedulerConfig, StepsAndEta) {
  for (const int steps : {0, -5, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()}) {
    SamplerOptions options;
    options.steps = steps;
    const Failure failure = failure_of(kConfig, "", options);
    EXPECT_EQ(failure.code, ErrorCode::invalid_argument);
    EXPECT_HAS(failure.message, "--steps");
    EXPECT_HAS(failure.message, std::to_string(steps));
  }
  SamplerOptions many;
  many.steps = 1001;
  for (const char* name : {"ddim", "ddpm"})
    EXPECT_EQ(failure_of(kConfig, name, many).code, ErrorCode::invalid_argument);
  for (const char* name : {"euler", "euler_a", "plms", "dpmpp_2m"})
    EXPECT_NE(make_scheduler(kConfig, name, many), nullptr);
  many.steps = 3;
  EXPECT_HAS(failure_of(kConfig, "pndm", many).message, "Runge-Kutta");
  // Timesteps beyond the last trained one.
  many.steps = 1000;
  json offset = kConfig;
  offset["steps_offset"] = 1;
  EXPECT_EQ(failure_of(offset, "ddim", many).code, ErrorCode::invalid_argument);
  for (const double eta : {-0.1, 1.1, std::nan("")}) {
    SamplerOptions options;
    options.eta = eta;
    EXPECT_EQ(failure_of(kConfig, "", options).code, ErrorCode::invalid_argument);
  }
}

TEST(SchedulerConfig, EveryNameAndClassIsKnown) {
  for (const std::string& name : sampler_names()) {
    SamplerOptions options;
    options.steps = 20;
    EXPECT_NE(make_sampler(network_for(name), name, options), nullptr) << name;
    for (const std::string& solver : solver_names())
      EXPECT_NE(make_sampler(network_for(solver), "k_" + solver, {}), nullptr);
  }
  for (const char* name : kClasses) {
    EXPECT_NE(make_scheduler(kConfig, name, {}), nullptr);
    EXPECT_NE(make_scheduler({{"_class_name", name}}, "", {}), nullptr);
  }
  EXPECT_NE(make_scheduler(kConfig, "DPM-Solver++", {}), nullptr);
}

TEST(SchedulerConfig, UnknownSamplersNameTheNearOnes) {
  const auto message = [](const std::string& name) {
    const Failure failure = failure_of(kConfig, name);
    EXPECT_EQ(failure.code, ErrorCode::invalid_argument);
    return failure.message;
  };
  EXPECT_HAS(message("eular"), "euler");
  EXPECT_HAS(message("dimm"), "ddim");
  EXPECT_HAS(message("dpmpp2m"), "dpmpp_2m");
  EXPECT_HAS(message("DDIMSchedular"), "DDIMScheduler");
  EXPECT_HAS(message("euler_ancestrel"), "euler_ancestral");
  const std::string far = message("quantum-annealing");
  for (const char* name : {"ddpm", "ddim", "pndm", "dpm_solver++", "euler", "euler_ancestral"}) EXPECT_HAS(far, name);
  EXPECT_HAS(message(std::string(100000, 'x')), "unknown sampler");
  EXPECT_HAS(message("a\nb"), "a\\x0ab");
}

TEST(SchedulerConfig, ClassNames) {
  EXPECT_HAS(failure_of(json::object()).message, "_class_name");
  EXPECT_HAS(failure_of({{"_class_name", 7}}).message, "_class_name");
  const Failure failure = failure_of({{"_class_name", "EulersDiscreteScheduler"}});
  EXPECT_EQ(failure.code, ErrorCode::unsupported);
  EXPECT_HAS(failure.message, "EulerDiscreteScheduler");
  EXPECT_EQ(failure_of(json::array()).code, ErrorCode::io);
  EXPECT_EQ(failure_of(nullptr, "ddim").code, ErrorCode::io);
}

TEST(SchedulerConfig, SigmaSchedules) {
  SamplerOptions options;
  for (const char* name : {"karras", "exponential", "beta", "lu", "normal", "default", "linspace", "trailing"}) {
    options.sigma_schedule = name;
    EXPECT_NE(make_scheduler(kConfig, "dpmpp_2m", options), nullptr) << name;
  }
  for (const char* name : {"karras", "exponential", "beta"}) {
    options.sigma_schedule = name;
    EXPECT_NE(make_scheduler(kConfig, "euler", options), nullptr);
    const Failure failure = failure_of(kConfig, "plms", options);
    EXPECT_EQ(failure.code, ErrorCode::invalid_argument);
    EXPECT_HAS(failure.message, "--scheduler " + std::string(name));
    EXPECT_HAS(failure.message, "--sampler");
    // Where diffusers has no such spacing, ComfyUI's holds.
    for (const char* sampler : {"ddim", "ddpm", "euler_a"})
      EXPECT_EQ(make_sampler(kConfig, sampler, options)->levels().front().sigma,
                make_sampler(kConfig, "k_euler", options)->levels().front().sigma);
  }
  options.sigma_schedule = "lu";
  EXPECT_EQ(failure_of(kConfig, "euler", options).code, ErrorCode::invalid_argument);
  options.sigma_schedule = "caras";
  EXPECT_HAS(failure_of(kConfig, "euler", options).message, "karras");
  // It overrides what the file asks for.
  json config = {{"_class_name", "EulerDiscreteScheduler"}, {"use_karras_sigmas", true}};
  options.sigma_schedule = "normal";
  const auto normal = make_scheduler(config, "", options)->timesteps();
  options.sigma_schedule.reset();
  EXPECT_NE(make_scheduler(config, "", options)->timesteps(), normal);
  config.erase("use_karras_sigmas");
  EXPECT_EQ(make_scheduler(config, "", options)->timesteps(), normal);
}

TEST(SchedulerConfig, PndmAndPlmsAreTheSame) {
  SamplerOptions options;
  options.steps = 10;
  json config = kConfig;
  for (const char* name : {"plms", "pndm"}) {
    config.erase("skip_prk_steps");
    EXPECT_EQ(make_scheduler(config, name, options)->timesteps().size(), 19u);
    config["skip_prk_steps"] = true;
    EXPECT_EQ(make_scheduler(config, name, options)->timesteps().size(), 11u);
  }
}

TEST(SchedulerConfig, InfinityWhereItMakesSense) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_NE(make_scheduler({{"lambda_min_clipped", -infinity}}, "dpmpp_2m", {}), nullptr);
  EXPECT_HAS(failure_of({{"lambda_min_clipped", infinity}}, "dpmpp_2m").message, "lambda_min_clipped");
  EXPECT_HAS(failure_of({{"beta_end", infinity}}, "ddim").message, "found inf");
  EXPECT_HAS(failure_of({{"num_train_timesteps", infinity}}, "ddim").message, "found inf");
}

}  // namespace
}  // namespace easel::sampling
