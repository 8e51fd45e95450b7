// What a run leaves out and what it leaves as it was.
#include "sampling/kept_part.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include <easel/error.h>

#include "sampling/sampler.h"
#include "sampling/toy_test.h"

namespace easel::sampling {
namespace {

const nlohmann::json kConfig = {{"_class_name", "DDIMScheduler"},
                                {"beta_start", 0.00085},
                                {"beta_end", 0.012},
                                {"beta_schedule", "scaled_linear"},
                                {"clip_sample", false},
                                {"set_alpha_to_one", false},
                                {"steps_offset", 1}};

std::vector<double> timesteps(const std::string& name, const SamplerOptions& options) {
  std::vector<double> out;
  for (const NoiseLevel& level : make_sampler(kConfig, name, options)->levels())
    if (level.timestep) out.push_back(*level.timestep);
  return out;
}

std::string refused(const std::string& name, const SamplerOptions& options) {
  try {
    make_sampler(kConfig, name, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    return error.what();
  }
  return "";
}

TEST(Strength, LeavesTheLastPartOfTheSchedule) {
  for (const char* name : {"ddim", "euler", "dpm_solver++", "heun", "ddpm", "lcm"}) {
    const std::vector<double> whole = timesteps(name, {.steps = 10}),
                              part = timesteps(name, {.steps = 10, .strength = 0.35});
    ASSERT_EQ(part.size(), 3u) << name;
    EXPECT_EQ(part, std::vector<double>(whole.end() - 3, whole.end())) << name;
  }
  // ComfyUI lays all steps into it.
  const std::vector<double> part = timesteps("k_euler", {.steps = 10, .strength = 0.5});
  EXPECT_EQ(part.size(), 10u);
  EXPECT_EQ(part, timesteps("k_euler", {.steps = 10, .denoise = 0.5}));
  EXPECT_NE(refused("ddim", {.steps = 4, .strength = 0.2}).find("--strength 0.2: expected to leave a step"),
            std::string::npos);
  EXPECT_NE(refused("ddim", {.steps = 4, .strength = 0}).find("above 0"), std::string::npos);
}

TEST(HandOver, TheTwoPartsAreTheWhole) {
  for (const char* name : {"ddim", "euler", "k_euler", "pndm", "heun"})
    for (const double share : {0.2, 0.5, 0.8}) {
      const std::vector<double> whole = timesteps(name, {.steps = 10});
      std::vector<double> parts = timesteps(name, {.steps = 10, .denoising_end = share});
      for (const double t : parts) EXPECT_GE(t, std::nearbyint(1000 - share * 1000)) << name;
      for (const double t : timesteps(name, {.steps = 10, .denoising_start = share})) parts.push_back(t);
      EXPECT_EQ(parts, whole) << name << " " << share;
    }
  EXPECT_NE(refused("ddim", {.steps = 4, .denoising_end = 0.1}).find("--denoising-end"), std::string::npos);
  EXPECT_NE(refused("ddim", {.steps = 4, .denoising_end = 1.5}).find("0 to 1"), std::string::npos);
}

// Half of the sample is kept: it ends as the clean sample, and the other half as if the kept half had been right all
// along, for a network that looks at values one by one.
TEST(KeptPart, EndsAsTheOriginalAndLeavesTheRestAlone) {
  const Shape shape{2, 2, 2, 3};
  constexpr size_t size = 24;
  std::vector<float> original(size), noise(size), mask = {1, 1, 1, 0, 0, 0};
  TorchGenerator(3).randn(original);
  TorchGenerator(4).randn(noise);
  for (const char* name : {"ddim", "euler", "euler_ancestral", "dpm_solver++", "heun", "dpm_2", "k_euler", "k_dpmpp_2m",
                           "k_dpmpp_sde", "k_uni_pc", "k_lms", "euler_cfg_pp"}) {
    const auto run = [&](bool keep, const std::vector<float>& of_kept) {
      const auto sampler = make_sampler(kConfig, name, {.steps = 6});
      NormalData network(0.7, [](double t) { return 0.03 + t / 70; });
      std::vector<float> sample = noise;
      sampler->start({}, sample);
      GeneratorNoise steps(13);
      const KeptPart part{of_kept, noise, mask};
      sampler->run(network, sample, shape, steps, {}, keep ? &part : nullptr);
      return sample;
    };
    const std::vector<float> kept = run(true, original), free = run(false, original);
    for (size_t j = 0; j < size; ++j) {
      if (mask[j % 6] == 0)
        EXPECT_EQ(kept[j], original[j]) << name << " " << j;
      else
        EXPECT_NEAR(kept[j], free[j], 1e-5) << name << " " << j;
    }
  }
}

TEST(KeptPart, DifferentialMasksOpenOneAfterTheOther) {
  const std::vector<float> original = {1, 2, 3, 4}, noise = {10, 20, 30, 40}, mask = {0, 0.25, 0.5, 1};
  const KeptPart part{original, noise, mask, true};
  const auto restored = [&](double progress) {
    std::vector<float> sample = {-1, -1, -1, -1};
    part.restore(0.5f, 0.1f, progress, sample);
    return sample;
  };
  EXPECT_EQ(restored(1), (std::vector<float>{1.5, 3, 4.5, -1}));
  EXPECT_EQ(restored(0.4), (std::vector<float>{1.5, 3, -1, -1}));
  EXPECT_EQ(restored(0), (std::vector<float>{1.5, -1, -1, -1}));
  std::vector<float> other(3);
  EXPECT_THROW(part.restore(1, 0, 0, other), Error);
}

}  // namespace
}  // namespace easel::sampling
