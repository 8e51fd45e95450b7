#include "sampling/schedule.h"

#include <algorithm>

#include "sampling/golden_test.h"
#include "sampling/sigmas.h"

namespace easel::sampling {
namespace {

std::string bit_sum(const std::vector<float>& values) {
  uint64_t sum = 0;
  for (const float value : values) sum += std::bit_cast<uint32_t>(value);
  return std::to_string(sum);
}

TEST(NoiseSchedule, EqualsTheReference) {
  const nlohmann::json golden = load_golden("schedules.json");
  ASSERT_GE(golden.at("cases").size(), 4u);
  for (const auto& c : golden["cases"]) {
    SCOPED_TRACE(c["config"].dump());
    const NoiseSchedule schedule = make_noise_schedule(SchedulerConfig(c["config"]), ScheduleKind::plain, true);
    const std::vector<float> sigmas = schedule.sigmas();
    const auto alphas = floats_of(c["alphas_cumprod"].get<std::string>());
    const auto want = floats_of(c["sigmas"].get<std::string>());
    const auto logs = floats_of(c["log_sigmas"].get<std::string>());
    ASSERT_EQ(c["picked"].size(), alphas.size());
    // Bit for bit, but for square roots: the reference's are off by up to one unit in the last place.
    const bool roots = c["config"].contains("rescale_betas_zero_snr");
    if (!roots) {
      EXPECT_EQ(bit_sum(schedule.alphas_cumprod), c["alphas_cumprod_sum"].get<std::string>());
    }
    for (size_t k = 0; k < alphas.size(); ++k) {
      const size_t t = c["picked"][k].get<size_t>();
      SCOPED_TRACE(t);
      EXPECT_NEAR(schedule.alphas_cumprod.at(t), alphas[k], roots ? 1e-6 * alphas[k] : 0);
      EXPECT_NEAR(sigmas.at(t), want[k], (roots ? 2e-5 : 2e-7) * want[k]);
      EXPECT_EQ(log_f32(want[k]), logs[k]);
    }
  }
}

TEST(NoiseSchedule, BetaQuantileInvertsTheDistribution) {
  EXPECT_EQ(beta_quantile(0, 0.6), 0);
  EXPECT_EQ(beta_quantile(1, 0.6), 1);
  EXPECT_NEAR(beta_quantile(0.5, 0.6), 0.5, 1e-12);
  // Beta(½, ½) is the arcsine law, Beta(1, 1) the uniform one.
  for (const double p : {0.01, 0.2, 0.5, 0.77, 0.999}) {
    EXPECT_NEAR(beta_quantile(p, 0.5), std::pow(std::sin(M_PI * p / 2), 2), 1e-12);
    EXPECT_NEAR(beta_quantile(p, 1.0), p, 1e-12);
    EXPECT_NEAR(beta_quantile(p, 0.6) + beta_quantile(1 - p, 0.6), 1, 1e-12);
  }
}

TEST(NoiseSchedule, KarrasSigmasHitBothEnds) {
  const auto sigmas = karras_sigmas({0.03, 14.6}, 10);
  EXPECT_NEAR(sigmas.front(), 14.6, 1e-12);
  EXPECT_NEAR(sigmas.back(), 0.03, 1e-14);
  EXPECT_TRUE(std::is_sorted(sigmas.rbegin(), sigmas.rend()));
}

TEST(NoiseSchedule, SigmaToTimestepInvertsInterpolation) {
  const auto sigmas =
      make_noise_schedule(SchedulerConfig(nlohmann::json::object()), ScheduleKind::plain, true).sigmas();
  const auto logs = log_f32(sigmas);
  for (const size_t t : {0u, 1u, 500u, 998u, 999u}) EXPECT_NEAR(sigma_to_timestep(sigmas[t], logs), t, 2e-3);
  EXPECT_EQ(sigma_to_timestep(1e9, logs), 999);
  EXPECT_EQ(sigma_to_timestep(0, logs), 0);
  EXPECT_EQ(interpolate(-1, sigmas), sigmas.front());
  EXPECT_EQ(interpolate(5000, sigmas), sigmas.back());
}

TEST(NoiseSchedule, TrailingNeverAppendsATimestepBeforeTheFirst) {
  for (int steps = 1; steps <= 1000; ++steps) {
    const auto timesteps = spaced_timesteps("trailing", 1000, steps, 0);
    ASSERT_EQ(timesteps.size(), static_cast<size_t>(steps));
    ASSERT_EQ(timesteps.front(), 999);
    ASSERT_GE(timesteps.back(), 0);
  }
}

}  // namespace
}  // namespace easel::sampling
