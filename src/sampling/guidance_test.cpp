#include "sampling/guidance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include <easel/error.h>

#include "sampling/allocation_count_test.h"
#include "sampling/model_sampling.h"
#include "sampling/schedule_plot.h"
#include "sampling/toy_test.h"

namespace easel::sampling {
namespace {

const Shape kShape{2, 2, 1, 3};
const std::vector<float> kConditional = {1, 2, 4, -1, 0.5f, 3, 0, 1, -2, 5, 2, 2};
const std::vector<float> kUnconditional = {0, 1, 1, 1, -0.5f, 2, 1, 1, 1, 4, -2, 0};
const std::vector<float> kMiddle = {2, 0, 1, 0, 0, 1, 3, -1, 1, 1, 1, 0};

std::vector<float> combined(Guidance& guidance, double progress = 0.5) {
  std::vector<float> out(kConditional.size());
  guidance.combine({kConditional, kUnconditional, kMiddle, kShape, progress}, out);
  return out;
}

double deviation(const float* values, size_t count) {
  double mean = 0, sum = 0;
  for (size_t j = 0; j < count; ++j) mean += values[j] / static_cast<double>(count);
  for (size_t j = 0; j < count; ++j) sum += (values[j] - mean) * (values[j] - mean);
  return std::sqrt(sum / static_cast<double>(count - 1));
}

TEST(Guidance, ClassifierFreeByHand) {
  const auto out = combined(*classifier_free(3));
  for (size_t j = 0; j < out.size(); ++j)
    EXPECT_FLOAT_EQ(out[j], kUnconditional[j] + 3 * (kConditional[j] - kUnconditional[j]));
  EXPECT_EQ(combined(*classifier_free(1)), kConditional);
  EXPECT_EQ(combined(*no_guidance()), kConditional);
  EXPECT_FALSE(no_guidance()->wants_unconditional(0));
}

TEST(Guidance, TwoPromptsByHand) {
  const auto guidance = two_prompts(4, 1.5);
  EXPECT_TRUE(guidance->wants_middle(0.5));
  const auto out = combined(*guidance);
  EXPECT_FLOAT_EQ(out[0], 0 + 1.5f * (2 - 0) + 4 * (1 - 2));
  EXPECT_FLOAT_EQ(out[9], 4 + 1.5f * (1 - 4) + 4 * (5 - 1));
}

TEST(Guidance, PerturbedAttentionByHand) {
  const auto at = [](Guidance& guidance, double timestep) {
    std::vector<float> out(kConditional.size());
    guidance.combine({kConditional, kUnconditional, {}, kShape, 0.5, timestep, kMiddle}, out);
    return out;
  };
  const auto plain = combined(*classifier_free(4));
  const auto fixed = perturbed_attention(classifier_free(4), 3, 0),
             adaptive = perturbed_attention(no_guidance(), 3, 0.01);
  EXPECT_TRUE(fixed->wants_perturbed(0.5));
  EXPECT_TRUE(fixed->wants_unconditional(0.5));
  EXPECT_FALSE(adaptive->wants_unconditional(0.5));
  EXPECT_FALSE(within(perturbed_attention(no_guidance(), 3, 0), 0.2, 0.6)->wants_perturbed(0.7));
  for (size_t j = 0; j < plain.size(); ++j) {
    const float difference = kConditional[j] - kMiddle[j];
    EXPECT_FLOAT_EQ(at(*fixed, 10)[j], plain[j] + 3 * difference);
    EXPECT_FLOAT_EQ(at(*adaptive, 900)[j], kConditional[j] + 2 * difference);
    EXPECT_FLOAT_EQ(at(*adaptive, 600)[j], kConditional[j]);  // never below 0
  }
}

// Three branches of a network with a known answer: each is the noise of normal data of another mean, so the guided one
// is that of u + s_m·(m − u) + s·(c − m) of the means, and Euler's steps end there.
TEST(Guidance, TwoPromptsSteerTheSample) {
  class ThreeMeans final : public Model {
   public:
    explicit ThreeMeans(Guidance& guidance) : guidance_(guidance) {}
    void predict(const ModelCall& call) override {
      const double sigma = network_.sigma(call.timestep), scale = std::sqrt(1 + sigma * sigma);
      const Shape shape{1, static_cast<int64_t>(call.input.size())};
      std::vector<float> branches[3];
      for (size_t b = 0; b < 3; ++b)
        for (const float x : call.input) branches[b].push_back(static_cast<float>((x * scale - kMeans[b]) / sigma));
      guidance_.combine({branches[2], branches[0], branches[1], shape, 0.5}, call.output);
    }
    static constexpr double kMeans[3] = {-1, 0.5, 2};

   private:
    Guidance& guidance_;
    ModelSampling network_{SchedulerConfig(nlohmann::json::object()), TimestepRule::nearest};
  };
  const auto guidance = two_prompts(3, 1.5);
  ThreeMeans network(*guidance);
  SamplerOptions options;
  options.steps = 8;
  const auto sampler = make_sampler({{"_class_name", "EulerDiscreteScheduler"}}, "k_euler", options);
  std::vector<float> sample = {0.3f, -1.2f, 0.8f, 2.0f};
  sampler->start({}, sample);
  GeneratorNoise noise(1);
  sampler->run(network, sample, {1, 4}, noise, {});
  for (const float value : sample) EXPECT_NEAR(value, -1 + 1.5 * (0.5 + 1) + 3 * (2 - 0.5), 1e-4);
}

TEST(Guidance, CallsAllocateNothing) {
  const auto guidance = within(
      rescaled(perturbed_attention(dynamically_thresholded(two_prompts(5, 2), two_prompts(2, 1), 0.9), 3, 0.001), 0.5),
      0, 1);
  std::vector<float> out(kConditional.size());
  const Branches in{kConditional, kUnconditional, kMiddle, kShape, 0.5, 500, kMiddle};
  guidance->combine(in, out);
  const size_t before = allocation_count();
  for (int i = 0; i < 10; ++i) guidance->combine(in, out);
  EXPECT_EQ(allocation_count(), before);
}

TEST(Guidance, RescalingReachesTheDeviationOfThePrompt) {
  const auto plain = combined(*classifier_free(5)), out = combined(*rescaled(classifier_free(5), 1));
  for (const size_t begin : {0u, 6u}) {
    EXPECT_NEAR(deviation(out.data() + begin, 6), deviation(kConditional.data() + begin, 6), 1e-5);
    for (size_t j = begin; j < begin + 6; ++j)
      EXPECT_NEAR(out[j] / plain[j], out[begin + 1] / plain[begin + 1], 1e-5);  // one factor per picture
  }
  const auto half = combined(*rescaled(classifier_free(5), 0.5));
  for (size_t j = 0; j < half.size(); ++j) EXPECT_NEAR(half[j], (plain[j] + out[j]) / 2, 1e-5);
  EXPECT_EQ(combined(*rescaled(classifier_free(5), 0)), plain);
}

TEST(Guidance, ThresholdingHasTheReachOfTheMilderScale) {
  const auto guidance = dynamically_thresholded(classifier_free(9), classifier_free(2), 1);
  const auto out = combined(*guidance), strong = combined(*classifier_free(9)), mild = combined(*classifier_free(2));
  for (size_t begin = 0; begin < out.size(); begin += 3) {
    const auto reach = [&](const std::vector<float>& values) {
      const double mean = (values[begin] + values[begin + 1] + values[begin + 2]) / 3.0;
      double most = 0;
      for (size_t j = begin; j < begin + 3; ++j) most = std::max(most, std::fabs(values[j] - mean));
      return most;
    };
    EXPECT_NEAR(reach(out), std::min(reach(mild), reach(out)), 1e-5);
    EXPECT_NEAR(reach(out), reach(mild), 1e-4 * reach(strong));
    const auto sum = [&](const std::vector<float>& v) { return v[begin] + v[begin + 1] + v[begin + 2]; };
    EXPECT_NEAR(sum(out), sum(strong), 1e-4);  // around the same mean
  }
  // Of equal scales nothing is left to do.
  const auto same = combined(*dynamically_thresholded(classifier_free(4), classifier_free(4), 1));
  const auto want = combined(*classifier_free(4));
  for (size_t j = 0; j < same.size(); ++j) EXPECT_NEAR(same[j], want[j], 1e-5);
}

TEST(Guidance, ActsWithinItsInterval) {
  const auto guidance = within(classifier_free(3), 0.2, 0.6);
  for (const double outside : {0.0, 0.19, 0.61, 1.0}) {
    EXPECT_EQ(combined(*guidance, outside), kConditional);
    EXPECT_FALSE(guidance->wants_unconditional(outside));
  }
  for (const double inside : {0.2, 0.4, 0.6}) {
    EXPECT_EQ(combined(*guidance, inside), combined(*classifier_free(3)));
    EXPECT_TRUE(guidance->wants_unconditional(inside));
  }
}

TEST(Guidance, OptionsStack) {
  GuidanceOptions options;
  options.scale = 5;
  options.rescale = 0.7;
  options.end = 0.8;
  EXPECT_EQ(combined(*make_guidance(options)), combined(*rescaled(classifier_free(5), 0.7)));
  EXPECT_EQ(combined(*make_guidance(options), 0.9), kConditional);
  options = {};
  options.scale = 1;
  EXPECT_FALSE(make_guidance(options)->wants_unconditional(0.5));
  options.always = true;
  EXPECT_TRUE(make_guidance(options)->wants_unconditional(0.5));
}

TEST(Guidance, BadOptionsAreNamed) {
  const auto refused = [](const GuidanceOptions& options) {
    try {
      make_guidance(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return std::string(error.what());
    }
    return std::string();
  };
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(refused({.scale = std::nan("")}), "--guidance-scale");
  has(refused({.rescale = 1.1}), "--guidance-rescale");
  has(refused({.start = 0.6, .end = 0.4}), "--guidance-end");
  has(refused({.scale = 1, .rescale = 0.5}), "--guidance-scale");
  has(refused({.middle_scale = std::nan("")}), "--middle-guidance-scale");
  has(refused({.pag_scale = -1}), "--pag-scale");
  has(refused({.pag_adaptive_scale = 0.1}), "--pag-scale");
  has(refused({.scale = 0.5, .mimic_scale = 3}), "--dynamic-thresholding");
  has(refused({.mimic_scale = 3, .threshold_quantile = 2}), "--threshold-quantile");
}

TEST(SchedulePlot, ShowsEveryLevel) {
  const std::vector<NoiseLevel> levels = {{999, 14.6}, {500, 1.6}, {0, 0.03}, {std::nullopt, 0}};
  const std::string table = schedule_table(levels);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 5);
  EXPECT_NE(table.find("999.000"), std::string::npos);
  EXPECT_NE(table.find("14.600000"), std::string::npos);
  EXPECT_EQ(schedule_json(levels), R"({"timesteps":[999.0,500.0,0.0],"sigmas":[14.6,1.6,0.03,0.0]})");
  const std::string svg = schedule_svg(levels, "a < b & \"c\"\n");
  EXPECT_EQ(svg.rfind("<svg ", 0), 0u);
  EXPECT_NE(svg.find("a &lt; b &amp; \"c\""), std::string::npos);
  size_t circles = 0;
  for (size_t at = svg.find("<circle"); at != std::string::npos; at = svg.find("<circle", at + 1)) ++circles;
  EXPECT_EQ(circles, 6u);  // three sigmas on a logarithmic axis, three timesteps
  for (const auto& odd : {std::vector<NoiseLevel>{}, std::vector<NoiseLevel>{{std::nullopt, 0}},
                          std::vector<NoiseLevel>{{5, 1}, {std::nullopt, 1}}})
    EXPECT_EQ(schedule_svg(odd, "").find("nan"), std::string::npos);
}

}  // namespace
}  // namespace easel::sampling
