// The pipeline with two text encoders and what is told beside the text; exactness is in tests/e2e.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include <easel/error.h>
#include <easel/pipeline.h>

#include "io/test_folder.h"
#include "pipelines/test_pipeline.h"
#include "tensor/test_tensors.h"

namespace easel {
namespace {

const std::string kFamilies = EASEL_SOURCE_DIR "/tests/goldens/families/";

TextToImageRequest request() {
  TextToImageRequest out;
  out.prompt = "a red balloon, wow!";
  out.steps = 2;
  out.seed = 5;
  out.width = 40;
  out.height = 24;
  return out;
}

TEST(TextToImageXl, ThreadsBatchesHistoryAndOffloadChangeNoBit) {
  TextToImageRequest three = request();
  three.num_images_per_prompt = 3;
  three.prompt = "a (red:1.3) balloon AND the sea:0.5";
  three.prompt_style = "a1111";
  three.added.size.crop_left = 12;
  auto pipeline = TextToImagePipeline::load(kFamilies + "xl", fp32_options());
  const Tensor expected = pipeline.generate(three).latents;
  pipeline.generate(request());  // others sizes and texts in the same sessions
  three.batch_size = 2;
  EXPECT_TRUE(same_bits(pipeline.generate(three).latents, expected)) << "batches of 2, after another request";
  LoadOptions other = fp32_options(3);
  other.offload = true;
  other.keep_text_encoder = false;
  auto second = TextToImagePipeline::load(kFamilies + "xl", other);
  for (int round = 0; round < 2; ++round)
    EXPECT_TRUE(same_bits(second.generate(three).latents, expected)) << "offload, three threads, round " << round;
}

TEST(TextToImageXl, EverythingThatIsToldIsSeen) {
  auto pipeline = TextToImagePipeline::load(kFamilies + "xl", fp32_options());
  const Tensor plain = pipeline.generate(request()).latents;
  const auto changes = [&](auto change) {
    TextToImageRequest r = request();
    change(r);
    return !same_bits(pipeline.generate(r).latents, plain);
  };
  EXPECT_FALSE(changes([](auto& r) { r.added.size = {40, 24, 0, 0, 40, 24}; })) << "the defaults";
  EXPECT_FALSE(changes([](auto& r) { r.clip_skip = 2; })) << "the default";
  EXPECT_HAS(io::error_of([&] { changes([](auto& r) { r.added.aesthetic_score = 1; }); }, ErrorCode::invalid_argument),
             "--aesthetic-score: expected a refiner");
  EXPECT_TRUE(changes([](auto& r) { r.prompt_2 = "another text"; }));
  EXPECT_FALSE(changes([](auto& r) { r.prompt_2 = r.prompt; })) << "both read it anyway";
  EXPECT_TRUE(changes([](auto& r) { r.negative_prompt.emplace(); })) << "no text is not an empty text";
  EXPECT_TRUE(changes([](auto& r) { r.clip_skip = 1; }));
  EXPECT_TRUE(changes([](auto& r) { r.added.size.original_width = 41; }));
  EXPECT_TRUE(changes([](auto& r) { r.added.size.target_height = 25; }));
  EXPECT_TRUE(changes([](auto& r) { r.added.size.crop_top = 1; }));
  EXPECT_TRUE(changes([](auto& r) { r.added.negative_size = SizeConditions{.crop_top = 1}; }));

  auto refiner = TextToImagePipeline::load(kFamilies + "refiner", fp32_options());
  const Tensor refined = refiner.generate(request()).latents;
  TextToImageRequest r = request();
  r.negative_prompt.emplace();
  EXPECT_TRUE(same_bits(refiner.generate(r).latents, refined)) << "the refiner encodes an absent text as an empty one";
  r.added.negative_aesthetic_score = 2;
  EXPECT_FALSE(same_bits(refiner.generate(r).latents, refined));
}

TEST(TextToImageXl, AnEmptyTextIsAbsentInTheWebUi) {
  auto pipeline = TextToImagePipeline::load(kFamilies + "xl", fp32_options());
  TextToImageRequest r = request();
  r.prompt_style = "a1111";
  const Tensor absent = pipeline.generate(r).latents;
  r.negative_prompt.emplace();
  EXPECT_TRUE(same_bits(pipeline.generate(r).latents, absent));
}

TEST(TextToImageXl, ANetworkThatTakesTheScaleRunsNoNegativeBranch) {
  auto pipeline = TextToImagePipeline::load(kFamilies + "lcm", fp32_options());
  TextToImageRequest r = request();
  std::vector<std::string> traced;
  const Tensor latents =
      pipeline.generate(r, {}, [&](const std::string& name, const Tensor&) { traced.push_back(name); }).latents;
  EXPECT_EQ(std::count(traced.begin(), traced.end(), "negative_prompt_embeds"), 0);
  r.guidance_scale = 3;
  EXPECT_FALSE(same_bits(pipeline.generate(r).latents, latents)) << "the scale is seen";
}

TEST(TextToImageXl, DescribesBothEncoders) {
  const auto pipeline = TextToImagePipeline::load(kFamilies + "xl", fp32_options());
  EXPECT_EQ(pipeline.info().family, "Stable Diffusion XL");
  EXPECT_EQ(pipeline.info().prediction_type, "epsilon");
  const std::string text = pipeline.describe(request());
  for (const char* expected : {"text_encoder – CLIPTextModel\n", "text_encoder_2 – CLIPTextModelWithProjection\n",
                               "because    model_index.json: StableDiffusionXLPipeline"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected;
  EXPECT_NE(pipeline.describe_prompt(request()).find("which is zeros"), std::string::npos);
}

TEST(TextToImageXl, RefusesWhatNoModelIsTold) {
  const auto pipeline = TextToImagePipeline::load(kFamilies + "xl", fp32_options());
  const auto refused = [&](auto change) {
    TextToImageRequest r = request();
    change(r);
    return io::error_of([&] { pipeline.validate(r); }, ErrorCode::invalid_argument);
  };
  EXPECT_HAS(refused([](auto& r) { r.added.size.crop_top = -1; }), "--crops-coords-top-left");
  EXPECT_HAS(refused([](auto& r) { r.added.negative_size = SizeConditions{.original_width = 1 << 30}; }),
             "--negative-original-size");
  EXPECT_HAS(refused([](auto& r) { r.added.aesthetic_score = std::nan(""); }), "--aesthetic-score");
  EXPECT_HAS(refused([](auto& r) { r.clip_skip = 5; }), "expected 1 to 4");
  LoadOptions o = fp32_options();
  o.prediction_type = "noise";
  EXPECT_HAS(io::error_of([&] { TextToImagePipeline::load(kFamilies + "xl", o); }, ErrorCode::invalid_argument),
             "--prediction-type: expected epsilon, v_prediction or sample");
}

TEST(TextToImageXl, PartsThatDoNotGoTogetherAreNamed) {
  LoadOptions o = fp32_options();
  o.unet_file = kFamilies + "lcm/unet";
  EXPECT_HAS(io::error_of([&] { TextToImagePipeline::load(kFamilies + "xl", o); }, ErrorCode::shape_mismatch),
             "cross_attention_dim is 24 and the text encoder's hidden_size is 24 + 40");
  o = fp32_options();
  o.text_encoder_2_file = kFamilies + "lcm/text_encoder";
  EXPECT_HAS(io::error_of([&] { TextToImagePipeline::load(kFamilies + "xl", o); }, ErrorCode::unsupported),
             "--text-encoder-2");
  // What is given for a place that a model does not have.
  const auto misplaced = [&](const char* model, auto set) {
    LoadOptions given = fp32_options();
    set(given);
    return io::error_of([&] { TextToImagePipeline::load(kFamilies + model, given); }, ErrorCode::invalid_argument);
  };
  const std::string other = kFamilies + "xl/text_encoder_2";
  EXPECT_HAS(misplaced("lcm", [&](auto& l) { l.text_encoder_2_file = other; }), "whose encoder is its text_encoder");
  EXPECT_HAS(misplaced("refiner", [&](auto& l) { l.text_encoder_file = other; }),
             "whose encoder is its text_encoder_2");
  EXPECT_HAS(misplaced("lcm", [&](auto& l) { l.tokenizer_2 = kFamilies + "xl/tokenizer_2"; }), "--tokenizer-2");
  // Textual inversions need a vector for each encoder.
  o = fp32_options();
  o.embeddings = {EASEL_SOURCE_DIR "/tests/goldens/prompt/embeddings/bad.safetensors"};
  EXPECT_HAS(io::error_of([&] { TextToImagePipeline::load(kFamilies + "xl", o); }), "clip_l and clip_g");
}

}  // namespace
}  // namespace easel
