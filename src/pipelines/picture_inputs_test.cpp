// Runs that begin from a picture; against diffusers they are in tests/e2e/test_jobs.py.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include <easel/error.h>
#include <easel/pipeline.h>

#include "pipelines/test_pipeline.h"
#include "tensor/test_tensors.h"

namespace easel {
namespace {

const std::string kModel = EASEL_SOURCE_DIR "/tests/goldens/sd15/a";
const std::string kPictures = EASEL_SOURCE_DIR "/tests/goldens/jobs/";

TextToImageRequest request() {
  TextToImageRequest out;
  out.prompt = "a red balloon";
  out.steps = 4;
  out.seed = 5;
  out.image.init_image = PictureSource::file(kPictures + "picture.png");
  return out;
}

TextToImageRequest inpainting() {
  TextToImageRequest out = request();
  out.image.mask = std::make_shared<const PictureMask>(PictureMask::file(kPictures + "mask.png"));
  return out;
}

TEST(PictureInputs, ThreadsBatchesAndHistoryChangeNoBit) {
  for (TextToImageRequest r : {request(), inpainting()}) {
    r.num_images_per_prompt = 3;
    r.sampler = "euler_ancestral";
    auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
    const auto expected = pipeline.generate(r);
    r.batch_size = 2;
    const auto batches = pipeline.generate(r);
    EXPECT_TRUE(same_bits(batches.latents, expected.latents));
    EXPECT_EQ(batches.pictures[2].rgb, expected.pictures[2].rgb);
    LoadOptions other = fp32_options(3);
    other.offload = true;
    auto second = TextToImagePipeline::load(kModel, other);
    EXPECT_TRUE(same_bits(second.generate(r).latents, expected.latents)) << "three threads, one component at a time";
    EXPECT_NE(expected.pictures[0].rgb, expected.pictures[1].rgb);
  }
}

TEST(PictureInputs, EverySamplerKeepsWhatTheMaskKeeps) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = inpainting();
  const RgbPicture original = r.image.init_image->read();
  for (const char* sampler :
       {"", "ddpm", "ddim", "euler", "euler_a", "dpm_solver++", "heun", "dpm_2", "k_euler", "k_dpmpp_2m", "k_heun",
        "k_dpmpp_sde", "k_uni_pc", "k_lms", "euler_cfg_pp", "dpm_adaptive", "tcd"})
    for (const double strength : {1.0, 0.6}) {
      r.sampler = sampler;
      r.image.strength = strength;
      int iterations = 0;
      const auto result = pipeline.generate(
          r, {}, [&](const std::string& name, const Tensor&) { iterations += name.starts_with("latents."); });
      for (const float value : result.latents.span<float>()) ASSERT_TRUE(std::isfinite(value)) << sampler;
      const Picture& picture = result.pictures[0];
      int kept = 0, changed = 0;
      for (size_t p = 0; p < r.image.mask->values.size(); ++p) {
        const bool same = std::memcmp(&picture.rgb[3 * p], &original.rgb[3 * p], 3) == 0;
        if (r.image.mask->values[p] == 0) {
          EXPECT_TRUE(same) << sampler << " at " << p;
          ++kept;
        } else {
          changed += !same;
        }
      }
      EXPECT_GT(kept, 1000);
      EXPECT_GT(changed, 300) << sampler;
      const bool comfy = r.sampler.starts_with("k_") || r.sampler == "euler_cfg_pp";
      const bool plms = r.sampler.empty();
      if (r.sampler != "dpm_adaptive") {
        EXPECT_EQ(iterations, (comfy || strength == 1 ? 4 : 2) + plms) << sampler << " " << strength;
      }
    }
}

// What the network makes of the kept part must not matter, only what it makes of the rest.
TEST(PictureInputs, LatentsOfTheKeptPartAreThePicturesOwn) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  for (const char* sampler : {"ddim", "k_dpmpp_2m", "heun"}) {
    TextToImageRequest r = inpainting();
    r.sampler = sampler;
    const Tensor one = pipeline.generate(r).latents;
    r.prompt = "a cat";
    const Tensor other = pipeline.generate(r).latents;
    int equal_values = 0, different = 0;
    for (size_t j = 0; j < one.span<float>().size(); ++j)
      (one.span<float>()[j] == other.span<float>()[j] ? equal_values : different) += 1;
    EXPECT_GT(equal_values, 60) << sampler;  // of 140
    EXPECT_GT(different, 30) << sampler;
  }
}

TEST(PictureInputs, StrengthSaysHowFarFromThePicture) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  r.sampler = "ddim";
  r.steps = 10;
  const RgbPicture original = r.image.init_image->read();
  double last = 0;
  for (const double strength : {0.1, 0.5, 1.0}) {
    r.image.strength = strength;
    Tensor first, decoded;
    const auto result = pipeline.generate(r);
    r.image.strength = 0.1;
    const Tensor near = pipeline.generate(r).latents;
    double distance = 0;
    for (size_t j = 0; j < near.span<float>().size(); ++j)
      distance += std::pow(near.span<float>()[j] - result.latents.span<float>()[j], 2);
    EXPECT_GE(distance, last) << strength;
    last = distance;
  }
  EXPECT_GT(last, 0);
}

// A uniform differential mask of white is inpainting of everything; of gray, the later part of image-to-image.
TEST(PictureInputs, DifferentialMasksBeginLaterWhereTheyAreDarker) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  r.sampler = "ddim";
  r.steps = 10;
  r.image.strength = 1;
  const auto with_mask = [&](uint8_t left, uint8_t right) {
    PictureMask mask{56, 40, std::vector<uint8_t>(56 * 40)};
    for (size_t p = 0; p < mask.values.size(); ++p) mask.values[p] = p % 56 < 32 ? left : right;
    r.image.mask = std::make_shared<const PictureMask>(std::move(mask));
    r.image.differential = true;
    return pipeline.generate(r);
  };
  const auto distance = [&](const Tensor& a, const Tensor& b, bool left) {
    double sum = 0;
    for (size_t j = 0; j < a.span<float>().size(); ++j)
      if ((j % 7 < 4) == left) sum += std::pow(a.span<float>()[j] - b.span<float>()[j], 2);
    return sum;
  };
  const auto none = with_mask(0, 255), little = with_mask(90, 255), much = with_mask(200, 255);
  const double a = distance(none.latents, little.latents, true), b = distance(none.latents, much.latents, true);
  EXPECT_GT(a, 0);
  EXPECT_GT(b, a);
  const RgbPicture original = r.image.init_image->read();
  for (size_t p = 0; p < 56 * 40; ++p)
    if (p % 56 < 32) {
      EXPECT_EQ(none.pictures[0].rgb[3 * p], original.rgb[3 * p]);
    }
}

TEST(PictureInputs, AMemoryLimitCountsTheEncoder) {
  TextToImageRequest r = request();
  r.steps = 1;
  r.image.strength = 1;
  r.width = 712;
  r.height = 568;
  LoadOptions limited = fp32_options();
  limited.memory_limit = 1'000'000'000;
  auto whole = TextToImagePipeline::load(kModel, limited);
  const Tensor expected = whole.generate(r).latents;
  limited.vae_tiling = VaeTiling::on;
  auto bands = TextToImagePipeline::load(kModel, limited);
  const Tensor found = bands.generate(r).latents;
  EXPECT_TRUE(same_bits(found, expected)) << "the encoder's bands recompute nothing";
}

TEST(PictureInputs, RefusesWhatDoesNotGoTogether) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  const auto refused = [&](auto change) -> std::string {
    TextToImageRequest r = inpainting();
    change(r);
    try {
      pipeline.validate(r);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << error.what();
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refused([](auto&) {}), "");
  const auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(refused([](auto& r) { r.image.strength = 0.1; }),
      "--strength 0.1: expected to leave a step, found none of --steps 4");
  has(refused([](auto& r) { r.image.strength = 0.5, r.sampling.start_step = 1; }), "--start-step");
  has(refused([](auto& r) { r.image.strength = 0.5, r.sampler = "k_euler", r.sampling.denoise = 0.5; }), "--denoise");
  has(refused([](auto& r) { r.image.strength = 0.5, r.sampler = "euler", r.sampling.sigmas = {3, 1, 0}; }), "--sigmas");
  has(refused([](auto& r) { r.image.init_image.reset(); }), "--mask: expected with --init-image");
  has(refused([](auto& r) { r.width = 57; }), "--width");
}

TEST(PictureInputs, AnUnreadablePictureEndsTheRequest) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options());
  TextToImageRequest r = request();
  r.image.init_image->read = [] { return RgbPicture{8, 8, std::vector<uint8_t>(192)}; };
  try {
    pipeline.generate(r);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::io);
    EXPECT_NE(std::string(error.what()).find("expected the picture of 56×40"), std::string::npos) << error.what();
  }
  EXPECT_THROW(PictureSource::file(kPictures + "none.png"), Error);
}

}  // namespace
}  // namespace easel
