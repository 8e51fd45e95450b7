// TAESD against diffusers: both halves, every naming, and in the place of a model's VAE.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include <easel/error.h>
#include <easel/pipeline.h>

#include "exec/session.h"
#include "io/json_file.h"
#include "pipelines/model_files.h"
#include "pipelines/seeded_weights.h"
#include "pipelines/test_pipeline.h"
#include "tensor/test_tensors.h"

namespace easel::pipelines {
namespace {

const std::string kGoldens = EASEL_SOURCE_DIR "/tests/goldens/", kFolder = kGoldens + "taesd/";

Tensor golden(const std::string& name) {
  static const io::WeightFiles kFile = io::WeightFiles::open(kFolder + "goldens.safetensors");
  return kFile.tensor(name).clone();
}

double bound(const std::string& config, const char* output) {
  return std::max(10 * io::read_json_file(kFolder + "index.json")[config][output].get<double>(), 2e-6);
}

// [B, C, H, W] through a half.
Tensor run(const graph::Graph& graph, const std::shared_ptr<const exec::WeightSource>& weights, const Tensor& x) {
  const auto context = std::make_shared<device::Context>(2);
  exec::WeightStore store(weights, context);
  exec::CompileOptions options;
  options.bindings = {{"batch", x.dim(0)}, {"height", x.dim(2)}, {"width", x.dim(3)}};
  exec::Session session(exec::compile(graph, store, context, options));
  session.set(graph.value(graph.inputs()[0]).name, x);
  session.run();
  return session.tensor(graph.outputs()[0].name).clone();
}

TEST(AutoencoderTiny, TheTrueSizeMatchesDiffusers) {
  const graph::Graph decoder = models::autoencoder_tiny_decoder({}), encoder = models::autoencoder_tiny_encoder({});
  const auto weights = std::make_shared<SeededWeights>(std::vector{decoder, encoder});
  EXPECT_LT(relative_l2(run(decoder, weights, golden("true.latents")), golden("true.decoded")),
            bound("true", "decoded"));
  EXPECT_LT(relative_l2(run(encoder, weights, golden("true.picture")), golden("true.encoded")),
            bound("true", "encoded"));
}

TEST(AutoencoderTiny, EveryNamingOfTheDecoderIsRead) {
  for (const char* file : {"tiny", "tiny/diffusion_pytorch_model.safetensors", "taesd_decoder.safetensors",
                           "taesd_single.safetensors", ""}) {
    const VaeFiles files = read_vae(kFolder + file, file);
    ASSERT_TRUE(files.tiny) << file;
    EXPECT_EQ(files.config.downscale(), 8) << file;
    const Tensor found = run(models::autoencoder_tiny_decoder(*files.tiny), files.weights, golden("tiny.latents"));
    EXPECT_LT(relative_l2(found, golden("tiny.decoded")), bound("tiny", "decoded")) << file;
  }
  EXPECT_EQ(read_vae(kFolder + "tiny", "").config.scaling_factor, 0.9);
  EXPECT_FALSE(read_vae(kGoldens + "sd15/a/vae", "").tiny);
}

TEST(AutoencoderTiny, EveryNamingOfTheEncoderIsRead) {
  for (const char* file : {"tiny", "taesd_encoder.pth", "taesd_single.safetensors", ""}) {
    const auto files = read_tiny_encoder(kFolder + file, file);
    const Tensor found = run(models::autoencoder_tiny_encoder(files.config), files.weights, golden("tiny.picture"));
    EXPECT_LT(relative_l2(found, golden("tiny.encoded")), bound("tiny", "encoded")) << file;
  }
}

TEST(AutoencoderTiny, AnEncoderAloneDecodesNothing) {
  try {
    read_vae(kFolder + "taesd_encoder.pth", "--vae taesd_encoder.pth");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "--vae taesd_encoder.pth: expected a TAESD's decoder, found its encoder alone");
  }
}

TEST(AutoencoderTiny, TakesThePlaceOfAModelsVae) {
  LoadOptions options = fp32_options(0);
  options.vae_file = kFolder + "tiny";
  TextToImagePipeline pipeline = TextToImagePipeline::load(kGoldens + "sd15/a", options);
  TextToImageRequest request;
  request.prompt = "a red balloon";
  request.steps = 3;
  request.guidance_scale = 5;
  request.width = 56;
  request.height = 40;
  request.initial_latents = golden("pipeline.latents");
  std::map<std::string, Tensor> traced;
  const TextToImageResult result = pipeline.generate(
      request, {}, [&](const std::string& name, const Tensor& value) { traced[name] = value.clone(); });
  EXPECT_LT(relative_l2(result.latents, golden("pipeline.last")), 1e-4);
  EXPECT_LT(relative_l2(traced.at("decoded"), golden("pipeline.decoded")), 2e-4);
  EXPECT_NE(pipeline.describe(request).find("AutoencoderTiny"), std::string::npos);
}

TextToImageRequest balloon() {
  TextToImageRequest request;
  request.prompt = "a red balloon";
  request.sampler = "euler";
  request.steps = 4;
  request.width = 56;
  request.height = 40;
  request.num_images_per_prompt = 2;
  return request;
}

TEST(Preview, ChangesNoBitAndComesWhenItIsDue) {
  TextToImagePipeline pipeline = TextToImagePipeline::load(kGoldens + "sd15/a", fp32_options(0));
  const TextToImageResult plain = pipeline.generate(balloon());
  std::vector<Preview> previews;
  const auto sink = [&](const Preview& preview) { previews.push_back(preview); };
  pipeline.set_preview_sink(sink, {.every = 2, .decoder = ""});
  EXPECT_EQ(pipeline.generate(balloon()).pictures[1].rgb, plain.pictures[1].rgb);
  ASSERT_EQ(previews.size(), 2u);
  EXPECT_EQ(previews[0].step, 2);
  EXPECT_EQ(previews[1].step, 4);
  ASSERT_EQ(previews[0].pictures.size(), 2u);
  EXPECT_EQ(previews[0].pictures[0].width, 7);  // a pixel per latent
  EXPECT_EQ(previews[0].pictures[0].height, 5);
  previews.clear();
  pipeline.set_preview_sink(sink, {.every = 1, .decoder = kFolder + "tiny"});
  EXPECT_EQ(pipeline.generate(balloon()).pictures[0].rgb, plain.pictures[0].rgb);
  ASSERT_EQ(previews.size(), 4u);
  EXPECT_EQ(previews[0].pictures[0].width, 56);
  pipeline.set_preview_sink({});
  pipeline.generate(balloon());
  EXPECT_EQ(previews.size(), 4u);
  EXPECT_THROW(pipeline.set_preview_sink(sink, {.every = 0, .decoder = ""}), Error);
  EXPECT_THROW(pipeline.set_preview_sink(sink, {.decoder = kGoldens + "sd15/a/vae"}), Error);
}

// The last step of Euler's method ends on the clean sample that it is a preview of: the same decoder shows the picture.
TEST(Preview, TheLastOneIsThePicture) {
  LoadOptions options = fp32_options(0);
  options.vae_file = kFolder + "tiny";
  TextToImagePipeline pipeline = TextToImagePipeline::load(kGoldens + "sd15/a", options);
  Preview last;
  pipeline.set_preview_sink([&](const Preview& preview) { last = preview; }, {.decoder = kFolder + "tiny"});
  const TextToImageResult result = pipeline.generate(balloon());
  ASSERT_EQ(last.pictures.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_EQ(last.pictures[i].rgb.size(), result.pictures[i].rgb.size());
    for (size_t k = 0; k < last.pictures[i].rgb.size(); ++k)
      ASSERT_NEAR(last.pictures[i].rgb[k], result.pictures[i].rgb[k], 1) << k;
  }
}

TEST(Preview, TheLinearMapFollowsTheModelsOwnVae) {
  TextToImagePipeline pipeline = TextToImagePipeline::load(kGoldens + "sd15/a", fp32_options(0));
  std::vector<Preview> first, again;
  pipeline.set_preview_sink([&](const Preview& preview) { first.push_back(preview); });
  pipeline.generate(balloon());
  TextToImagePipeline other = TextToImagePipeline::load(kGoldens + "sd15/a", fp32_options(0));
  other.generate(balloon());  // what ran before does not count
  other.set_preview_sink([&](const Preview& preview) { again.push_back(preview); });
  const TextToImageResult result = other.generate(balloon());
  ASSERT_EQ(again.size(), first.size());
  EXPECT_EQ(again.back().pictures[1].rgb, first.back().pictures[1].rgb);
  // Brightness of the last preview and of the picture agree within what a tiny random VAE allows.
  const auto mean = [](const Picture& picture) {
    double sum = 0;
    for (const uint8_t value : picture.rgb) sum += value;
    return sum / static_cast<double>(picture.rgb.size());
  };
  EXPECT_NEAR(mean(again.back().pictures[0]), mean(result.pictures[0]), 25);
}

}  // namespace
}  // namespace easel::pipelines
