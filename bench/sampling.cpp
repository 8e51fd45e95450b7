// bench_sampling: what a step costs beside the network: sampler, guidance and noise.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <easel/error.h>

#include "sampling/guidance.h"
#include "sampling/noise.h"
#include "sampling/sampler.h"

namespace {

using namespace easel;
using namespace easel::sampling;
using Clock = std::chrono::steady_clock;

constexpr const char* kHelp = R"(Usage: bench_sampling [WIDTH HEIGHT [STEPS [STEP_SECONDS]]]
Runs every sampler over latents of a picture of that size (512 512, 30 steps) with a network that takes
no time, classifier-free guidance, perturbed attention and rescaling, on one thread, and prints
milliseconds per step; beside it the share of a step of STEP_SECONDS, where given, as `easel bench` or
`easel generate --json` tells them. What is 1% or more is marked.
)";

// Predictions that are there already, guided.
class Guided final : public Model {
 public:
  Guided(Guidance& guidance, const Shape& shape) : guidance_(guidance), shape_(shape) {
    const auto size = static_cast<size_t>(shape.numel());
    for (size_t b = 0; b < branches_.size(); ++b)
      for (size_t j = 0; j < size; ++j) branches_[b].push_back(0.1f * static_cast<float>((j * 7 + b * 3) % 11) - 0.5f);
  }
  void predict(const ModelCall& call) override {
    guidance_.combine({branches_[0], branches_[1], {}, shape_, 0.5, call.timestep, branches_[2]}, call.output);
    std::copy_n(branches_[1].begin(), call.unconditional.size(), call.unconditional.begin());
  }

 private:
  Guidance& guidance_;
  Shape shape_;
  std::array<std::vector<float>, 3> branches_;
};

double number(const char* text, double min) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end || !(value >= min)) {
    fmt::print(stderr, "bench_sampling: expected a number of at least {}, found '{}'\n{}", min, text, kHelp);
    std::exit(2);
  }
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 || argc > 5) {
    fmt::print("{}", kHelp);
    return argc == 2 && std::string(argv[1]) == "--help" ? 0 : 2;
  }
  const auto width = static_cast<int64_t>(argc > 2 ? number(argv[1], 8) : 512);
  const auto height = static_cast<int64_t>(argc > 2 ? number(argv[2], 8) : 512);
  const double seconds = argc > 4 ? number(argv[4], 1e-6) : 0;
  SamplerOptions options;
  options.steps = argc > 3 ? static_cast<int>(number(argv[3], 1)) : 30;
  const nlohmann::json config = {{"_class_name", "DDIMScheduler"}, {"beta_schedule", "scaled_linear"},
                                 {"beta_start", 0.00085},          {"beta_end", 0.012},
                                 {"clip_sample", false},           {"skip_prk_steps", true}};
  const Shape shape{1, 4, height / 8, width / 8};
  const GuidancePtr guidance = rescaled(perturbed_attention(classifier_free(7.5), 3, 0), 0.7);
  fmt::print("latents {}, {} steps\n{:<32}{:>10}{:>10}\n", shape.str(), options.steps, "sampler", "ms/step",
             seconds > 0 ? "share" : "");
  for (const std::string& name : sampler_names()) {
    if (name == "flow_match_euler") continue;  // euler, for other networks
    try {
      const auto sampler = make_sampler(config, name, options);
      const auto noise = make_noise({.seed = 1}, shape);
      Guided network(*guidance, shape);
      std::vector<float> sample(static_cast<size_t>(shape.numel()));
      const auto begin = Clock::now();
      noise->first(sample);
      sampler->start({}, sample);
      sampler->run(network, sample, shape, *noise, {});
      const double took = std::chrono::duration<double>(Clock::now() - begin).count() / options.steps;
      fmt::print("{:<32}{:>10.3f}", name, took * 1e3);
      if (seconds > 0) fmt::print("{:>9.3f}%{}", 100 * took / seconds, took >= 0.01 * seconds ? "  above 1%" : "");
      fmt::print("\n");
    } catch (const Error& error) {
      fmt::print("{:<32}{}\n", name, error.what());
    }
  }
}
