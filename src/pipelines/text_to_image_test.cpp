// The pipeline as an object; whole pictures against the goldens are in tests/e2e.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include <easel/error.h>
#include <easel/pipeline.h>

#include "pipelines/test_pipeline.h"
#include "tensor/test_tensors.h"

namespace easel {
namespace {

const std::string kModel = EASEL_SOURCE_DIR "/tests/goldens/sd15/a";

TextToImageRequest request() {
  TextToImageRequest out;
  out.prompt = "a red balloon";
  out.steps = 3;
  out.seed = 5;
  out.width = 56;
  out.height = 40;
  return out;
}

TEST(TextToImage, ThreadsBatchesAndHistoryChangeNoBit) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest three = request();
  three.num_images_per_prompt = 3;
  three.sampler = "euler_ancestral";
  const Tensor expected = pipeline.generate(three).latents;
  three.batch_size = 2;
  EXPECT_TRUE(same_bits(pipeline.generate(three).latents, expected)) << "batches of 2";
  three.batch_size = 1;
  EXPECT_TRUE(same_bits(pipeline.generate(three).latents, expected)) << "batches of 1";
  pipeline.generate(request());
  EXPECT_TRUE(same_bits(pipeline.generate(three).latents, expected)) << "after another request";
  LoadOptions other = fp32_options(3);
  other.keep_text_encoder = false;
  auto second = TextToImagePipeline::load(kModel, other);
  EXPECT_TRUE(same_bits(second.generate(three).latents, expected)) << "three threads";
}

// The plan for a request, as inspect has it; null where it is refused.
nlohmann::json plan_of(const LoadOptions& o, const TextToImageRequest& r) {
  try {
    return nlohmann::json::parse(TextToImagePipeline::load(kModel, o).describe_json(r));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    return {};
  }
}

TEST(TextToImage, EveryMeansToNeedLessMemoryChangesNoBit) {
  TextToImageRequest r = request();
  r.num_images_per_prompt = 3;
  auto plain = TextToImagePipeline::load(kModel, fp32_options());
  const auto trace_into = [](Tensor& target) {
    return [&](const std::string& name, const Tensor& value) {
      if (name == "decoded") target = value.clone();
    };
  };
  Tensor expected, found;
  plain.generate(r, {}, trace_into(expected));

  LoadOptions offload = fp32_options();
  offload.offload = true;
  offload.keep_text_encoder = false;
  auto one_at_a_time = TextToImagePipeline::load(kModel, offload);
  for (int round = 0; round < 2; ++round) {
    one_at_a_time.generate(r, {}, trace_into(found));
    EXPECT_TRUE(same_bits(found, expected)) << "offload, round " << round;
  }

  // Ever tighter limits, down to what is refused: each means is taken at some point.
  std::set<std::string> seen;
  LoadOptions limited = fp32_options();
  limited.memory_limit = plan_of(fp32_options(), r)["peak_memory_bytes"].get<int64_t>();
  for (nlohmann::json plan = plan_of(limited, r); !plan.is_null(); plan = plan_of(limited, r)) {
    const auto peak = plan["peak_memory_bytes"].get<int64_t>();
    EXPECT_LE(peak, limited.memory_limit);
    for (const auto& [key, value] : plan["memory"].items())
      if (value.is_boolean() && value.get<bool>()) seen.insert(key);
    if (plan["batch_size"] < 3) seen.insert("batch_size");
    auto pipeline = TextToImagePipeline::load(kModel, limited);
    pipeline.generate(r, {}, trace_into(found));
    EXPECT_TRUE(same_bits(found, expected)) << plan["memory"].dump();
    limited.memory_limit = peak - 1;
  }
  for (const char* means : {"one_component_at_a_time", "batch_size", "split_guidance"})
    EXPECT_TRUE(seen.contains(means)) << means;
  EXPECT_THROW(TextToImagePipeline::load(kModel, limited).generate(r), Error);
}

TEST(TextToImage, DecodingInBandsLeavesNoSeam) {
  TextToImageRequest r = request();
  r.steps = 1;
  r.width = 712;
  r.height = 568;
  const auto decode = [&](VaeTiling tiling, int64_t limit) {
    LoadOptions o = fp32_options(2);
    o.vae_tiling = tiling;
    o.memory_limit = limit;
    const auto plan = plan_of(o, r);
    Tensor out;
    TextToImagePipeline::load(kModel, o).generate(r, {}, [&](const std::string& name, const Tensor& value) {
      if (name == "decoded") out = value.clone();
    });
    return std::pair(out, plan);
  };
  const auto [whole, plan] = decode(VaeTiling::off, 0);
  EXPECT_FALSE(plan["memory"]["vae_tiling"].get<bool>());
  // One byte less than it takes: bands come first.
  const auto [bands, exact] = decode(VaeTiling::automatic, plan["peak_memory_bytes"].get<int64_t>() - 1);
  EXPECT_TRUE(exact["memory"]["vae_tiling"].get<bool>());
  EXPECT_FALSE(exact["memory"]["vae_recompute"].get<bool>());
  EXPECT_TRUE(same_bits(bands, whole));
  const auto [least, smallest] = decode(VaeTiling::on, 0);
  EXPECT_TRUE(smallest["memory"]["vae_recompute"].get<bool>());
  double error = 0, norm = 0;
  for (int64_t i = 0; i < whole.numel(); ++i) {
    const double x = whole.data<float>()[i], d = least.data<float>()[i] - x;
    error += d * d, norm += x * x;
  }
  EXPECT_LT(std::sqrt(error / norm), 1e-6);
}

TEST(TextToImage, AMemoryLimitThatIsTooLowSaysWhatWouldFit) {
  const auto message = [](LoadOptions o, TextToImageRequest r) -> std::string {
    try {
      TextToImagePipeline::load(kModel, o).generate(r);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
      return error.what();
    }
    return "";
  };
  LoadOptions o = fp32_options();
  TextToImageRequest r = request();
  r.width = r.height = 1024;
  o.memory_limit = 150'000'000;
  const std::string fits = message(o, r);
  EXPECT_NE(fits.find("0.15 GB are allowed by --memory-limit; would fit: "), std::string::npos) << fits;
  const size_t at = fits.find("--width ", 10);
  ASSERT_NE(at, std::string::npos) << fits;
  ASSERT_EQ(std::sscanf(fits.c_str() + at, "--width %ld --height %ld", &r.width, &r.height), 2);
  EXPECT_EQ(message(o, r), "");  // and it does fit
  o.memory_limit = 1'000'000;
  EXPECT_NE(message(o, request()).find("no size would fit"), std::string::npos);
}

TEST(TextToImage, ReportsTimesOfEveryStepAndBatch) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  r.num_images_per_prompt = 3;
  r.batch_size = 2;
  int calls = 0;
  const auto result = pipeline.generate(r, [&](const StepProgress& progress) { EXPECT_EQ(progress.done, ++calls); });
  EXPECT_EQ(result.pictures.size(), 3u);
  EXPECT_EQ(result.seconds.decode.size(), 2u);
  EXPECT_EQ(static_cast<int>(result.seconds.steps.size()), calls);
  EXPECT_EQ(result.pictures[2].index, 2);
  EXPECT_EQ(result.pictures[2].rgb.size(), 3u * 56 * 40);
}

TEST(TextToImage, EarlierPromptsChangeNoBit) {
  TextToImageRequest styled = request();
  styled.prompt = "a [red|(blue:1.3)] balloon AND the sea:0.5";
  styled.prompt_style = "a1111";
  styled.clip_skip = 2;
  auto fresh = TextToImagePipeline::load(kModel, fp32_options());
  const Tensor expected = fresh.generate(styled).latents;
  auto used = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest other = request();
  other.prompt = "(a red balloon:1.3)";
  for (const char* style : {"plain", "comfy", "a1111"}) {
    other.prompt_style = style;
    used.generate(other);
  }
  EXPECT_TRUE(same_bits(used.generate(styled).latents, expected));
  EXPECT_TRUE(same_bits(used.generate(request()).latents, fresh.generate(request()).latents));
  styled.clip_skip = 1;
  EXPECT_FALSE(same_bits(used.generate(styled).latents, expected)) << "clip skip is seen";
}

TEST(TextToImage, TheLaunchSinkSeesEveryPartAndChangesNoBit) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  const Tensor expected = pipeline.generate(request()).latents;
  std::map<std::string, int> launches;
  std::set<std::string> classes;
  double last = 0;
  pipeline.set_launch_sink([&](const Launch& launch) {
    ++launches[launch.component + " " + launch.entry];
    classes.insert(launch.op_class);
    EXPECT_GE(launch.begin, last);
    EXPECT_GE(launch.seconds, 0);
    EXPECT_FALSE(launch.kernel.empty());
    last = launch.begin + launch.seconds;
  });
  TextToImageRequest r = request();
  EXPECT_TRUE(same_bits(pipeline.generate(r).latents, expected));
  EXPECT_FALSE(launches.contains("text_encoder request")) << "both prompts were known";
  EXPECT_EQ(launches.at("unet step") % r.steps, 0);
  EXPECT_GT(launches.at("vae step"), 0);
  for (const char* name : {"linear", "conv 1x1", "conv 3x3", "attention", "norm"}) EXPECT_TRUE(classes.contains(name));
  const auto before = launches;
  r.width = 64;  // sessions made from now on are heard, too
  pipeline.generate(r);
  EXPECT_GT(launches.at("unet step"), before.at("unet step"));
  pipeline.set_launch_sink({});
  const auto after = launches;
  pipeline.generate(r);
  EXPECT_EQ(launches, after);
}

TEST(TextToImage, AModelLoadedForItsPlanRunsNothing) {
  LoadOptions o = fp32_options();
  o.plan_only = true;
  auto pipeline = TextToImagePipeline::load(EASEL_SOURCE_DIR "/bench/configs/sd15", o);
  TextToImageRequest r;
  EXPECT_NE(pipeline.describe(r).find("859.52 M parameters, no weights here"), std::string::npos);
  EXPECT_THROW(pipeline.generate(r), Error);
  EXPECT_THROW(pipeline.encode_prompts({r}), Error);
  o.plan_only = false;
  EXPECT_THROW(TextToImagePipeline::load(EASEL_SOURCE_DIR "/bench/configs/sd15", o), Error);
}

TEST(TextToImage, GuidanceOffRunsNoNegativeBranch) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  r.guidance_scale = 1;
  std::vector<std::string> traced;
  pipeline.generate(r, {}, [&](const std::string& name, const Tensor&) { traced.push_back(name); });
  EXPECT_EQ(std::count(traced.begin(), traced.end(), "negative_prompt_embeds"), 0);
  EXPECT_EQ(traced.front(), "prompt_embeds");
  EXPECT_EQ(traced.back(), "decoded");
}

TEST(TextToImage, RefusesBadRequestsBeforeAnyWork) {
  const auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  const auto refused = [&](auto change) {
    TextToImageRequest r = request();
    change(r);
    try {
      pipeline.validate(r);
    } catch (const Error& error) {
      return error.code() == ErrorCode::invalid_argument;
    }
    return false;
  };
  EXPECT_TRUE(refused([](auto& r) { r.width = 57; }));
  EXPECT_TRUE(refused([](auto& r) { r.height = -8; }));
  EXPECT_TRUE(refused([](auto& r) { r.steps = 0; }));
  EXPECT_TRUE(refused([](auto& r) { r.guidance_scale = std::nan(""); }));
  EXPECT_TRUE(refused([](auto& r) { r.guidance_scale = std::numeric_limits<double>::infinity(); }));
  EXPECT_TRUE(refused([](auto& r) { r.sampler = "eular"; }));
  EXPECT_TRUE(refused([](auto& r) { r.eta = 2; }));
  EXPECT_TRUE(refused([](auto& r) { r.noise.rng = "mt19938"; }));
  EXPECT_TRUE(refused([](auto& r) { r.noise.variation_strength = 1.5; }));
  EXPECT_TRUE(refused([](auto& r) { r.guidance.rescale = 2; }));
  EXPECT_TRUE(refused([](auto& r) { r.sampling.sigmas = {1, 2}; }));
  EXPECT_TRUE(refused([](auto& r) { r.sampling.start_step = 9; }));
  EXPECT_TRUE(refused([](auto& r) { r.prompt = "\xff"; }));
  EXPECT_TRUE(refused([](auto& r) { r.prompt_style = "other"; }));
  EXPECT_TRUE(refused([](auto& r) { r.clip_skip = -1; }));
  EXPECT_TRUE(refused([](auto& r) { r.num_images_per_prompt = 0; }));
  EXPECT_TRUE(refused([](auto& r) { r.initial_latents = Tensor::zeros(DType::f32, {1, 4, 8, 8}); }));
}

TEST(TextToImage, RefusesPicturesThatNoMemoryHolds) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  r.width = r.height = 1 << 20;
  try {
    pipeline.generate(r);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
  }
}

TEST(TextToImage, CancelEndsTheRun) {
  LoadOptions o = fp32_options();
  auto pipeline = TextToImagePipeline::load(kModel, o);
  TextToImageRequest r = request();
  r.steps = 50;
  int done = 0;
  try {
    pipeline.generate(r, [&](const StepProgress& progress) {
      done = progress.done;
      if (done == 2) o.cancel.cancel();
    });
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::cancelled);
  }
  EXPECT_EQ(done, 2);
}

TEST(TextToImage, SamplersCallTheNetworkAsTheyLike) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  const auto run = [&] {
    int calls = 0, steps = 0, total = 0;
    const auto result = pipeline.generate(
        r, [&](const StepProgress& progress) { calls = progress.done, total = progress.total; },
        [&](const std::string& name, const Tensor&) { steps += name.starts_with("latents."); });
    for (const float value : result.latents.span<float>()) EXPECT_TRUE(std::isfinite(value)) << r.sampler;
    if (r.sampler != "dpm_adaptive") {
      EXPECT_EQ(calls, total) << r.sampler;
    }
    return std::pair(calls, steps);
  };
  r.sampler = "k_heun";
  EXPECT_EQ(run(), std::pair(5, 3));
  r.sampler = "dpm_adaptive";
  EXPECT_GT(run().first, 3);
  r.sampler = "euler_cfg_pp";
  r.guidance_scale = 1;  // the negative branch runs all the same
  EXPECT_EQ(run(), std::pair(3, 3));
  r.sampler = "dpmpp_sde";
  EXPECT_EQ(run(), std::pair(5, 3));
}

TEST(TextToImage, GuidanceWithinAnIntervalIsItself) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  r.sampler = "euler";
  r.scheduler = "trailing";
  const Tensor guided = pipeline.generate(r).latents;
  r.guidance.end = 1;
  r.guidance.start = 0;
  EXPECT_TRUE(same_bits(pipeline.generate(r).latents, guided));
  TextToImageRequest plain = r;
  plain.guidance_scale = 1;
  const Tensor unguided = pipeline.generate(plain).latents;
  r.guidance.start = r.guidance.end = 1;  // after the last timestep of three
  const Tensor outside = pipeline.generate(r).latents;
  for (int64_t j = 0; j < outside.numel(); ++j)
    EXPECT_NEAR(outside.span<float>()[static_cast<size_t>(j)], unguided.span<float>()[static_cast<size_t>(j)], 1e-4);
  r.guidance.start = 0;
  r.guidance.end = 0.5;  // the first steps alone
  EXPECT_FALSE(same_bits(pipeline.generate(r).latents, guided));
  EXPECT_FALSE(same_bits(pipeline.generate(r).latents, outside));
}

TEST(TextToImage, PicturesOfTheWebUiCountTheSeedUp) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  r.sampler = "dpmpp_2m_sde";
  r.scheduler = "sgm_uniform";
  r.noise.rng = "a1111";
  r.num_images_per_prompt = 3;
  const auto three = pipeline.generate(r);
  EXPECT_EQ(three.pictures[2].seed, 7u);
  r.num_images_per_prompt = 1;
  r.seed = 7;
  EXPECT_EQ(pipeline.generate(r).pictures[0].rgb, three.pictures[2].rgb);
}

TEST(TextToImage, DescribesTheSchedule) {
  const auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  r.sampler = "k_euler";
  r.scheduler = "karras";
  EXPECT_NE(pipeline.describe_schedule(r, ScheduleFormat::text).find("sigma"), std::string::npos);
  EXPECT_NE(pipeline.describe_schedule(r, ScheduleFormat::svg).find("k_euler, karras: 3 steps"), std::string::npos);
}

TEST(TextToImage, DescribesThePlan) {
  const auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  const std::string text = pipeline.describe(request(), true);
  for (const char* expected : {"UNet2DConditionModel", "peak memory", "entry request", "conv2d"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected;
  EXPECT_NE(pipeline.describe_json(request()).find("peak_memory_bytes"), std::string::npos);
}

}  // namespace
}  // namespace easel
