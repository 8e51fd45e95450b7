#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cli/arguments.h"
#include "cli/model_lookup.h"
#include "cli/options.h"
#include "cli/output_files.h"
#include "cli/picture_metadata.h"
#include "cli/spelling.h"
#include "io/test_folder.h"

namespace easel::cli {
namespace {

TEST(Spelling, NearNames) {
  const std::vector<std::string> names = {"--steps", "--seed", "--guidance-scale", "--prompt", "--prompt-file"};
  EXPECT_EQ(nearest("--stpes", names), "--steps");
  EXPECT_EQ(nearest("--guidance_scale", names), "--guidance-scale");
  EXPECT_EQ(nearest("--guidance", names), "--guidance-scale");
  EXPECT_EQ(nearest("--promt", names), "--prompt");
  EXPECT_EQ(nearest("--colour", names), "");
}

TEST(Options, TheHelpListsEveryOption) {
  for (const std::string& name : GenerateOptions::names()) {
    if (name == "--help") continue;
    const std::string help = GenerateOptions::all_help(), negative = "--negative-";
    // What stands there once for the prompt and as "each also as --negative-…" is listed too.
    const bool also = name.starts_with(negative) && help.find("each also as --negative-…") != std::string::npos &&
                      help.find("--" + name.substr(negative.size())) != std::string::npos;
    EXPECT_TRUE(also || help.find(name) != std::string::npos) << name;
  }
}

TEST(Options, EmbeddingsAreCollected) {
  GenerateOptions options;
  EXPECT_TRUE(
      options.parse(std::vector<std::string>{"--embedding", "a", "--embedding=b", "--embedding", "-c", "a cat"}));
  EXPECT_EQ(options.model.embeddings, (std::vector<std::string>{"a", "b", "-c"}));
  EXPECT_EQ(options.prompt, "a cat");
}

TEST(Options, ValuesMayLookLikeOptions) {
  GenerateOptions options;
  EXPECT_TRUE(options.parse(std::vector<std::string>{"--prompt", "--steps", "--negative-prompt", "-5", "--steps=7",
                                                     "--sampler=", "--guidance-scale", "-1.5", "--seed", "0"}));
  EXPECT_EQ(options.prompt, "--steps");
  EXPECT_EQ(options.negative_prompt, "-5");
  EXPECT_EQ(options.steps, 7);
  EXPECT_EQ(options.sampler, "");
  EXPECT_EQ(options.guidance_scale, -1.5);
  EXPECT_EQ(options.seed, 0u);
  GenerateOptions brackets;
  EXPECT_TRUE(brackets.parse(std::vector<std::string>{"[a, b]"}));
  EXPECT_EQ(brackets.prompt, "[a, b]");
  GenerateOptions empty;
  EXPECT_TRUE(empty.parse(std::vector<std::string>{"--prompt", ""}));
  EXPECT_EQ(empty.prompt, "");
}

TEST(PictureMetadata, TheHighResolutionFixOfTheWebUi) {
  const std::string line =
      "a cat\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 512x512, Denoising strength: 0.55, Hires upscale: 1.5, "
      "Hires steps: 0, Hires upscaler: Latent (nearest-exact)";
  PictureMetadata m = from_a1111(line, "x");
  EXPECT_EQ(m.pictures.hires_scale, 1.5);
  EXPECT_EQ(m.pictures.hires_strength, 0.55);
  EXPECT_EQ(m.pictures.hires_upscaler, "latent_nearest");
  EXPECT_FALSE(m.pictures.hires_steps);
  EXPECT_FALSE(m.pictures.strength);
  const std::string again = to_a1111(m);
  for (const char* part : {"Denoising strength: 0.55", "Hires upscale: 1.5", "Hires upscaler: Latent (nearest-exact)"})
    EXPECT_NE(again.find(part), std::string::npos) << again;
  EXPECT_EQ(from_a1111("a\nSteps: 2, Denoising strength: 0.3", "x").pictures.strength, 0.3);
}

PictureMetadata example() {
  PictureMetadata m;
  m.prompt = "a \"red\" balloon, 3: two\nsecond line";
  m.negative_prompt = "fog\nrain";
  m.steps = 20;
  m.width = 64;
  m.height = 40;
  m.num_images_per_prompt = 3;
  m.index = 2;
  m.sampler = "euler_ancestral";
  m.scheduler = "";
  m.guidance_scale = 7.1;
  m.eta = 0;
  m.seed = 18446744073709551615u;
  m.model = "a, b";
  return m;
}

TEST(Metadata, JsonAndA1111Agree) {
  const io::PngText text = to_png_text(example());
  ASSERT_EQ(text.size(), 2u);
  const PictureMetadata json = from_png_text(text, "x.png");
  const PictureMetadata a1111 = from_png_text({text[0]}, "x.png");
  for (const PictureMetadata& m : {json, a1111}) {
    EXPECT_EQ(m.prompt, example().prompt);
    EXPECT_EQ(m.negative_prompt, example().negative_prompt);
    EXPECT_EQ(m.steps, 20);
    EXPECT_EQ(m.width, 64);
    EXPECT_EQ(m.height, 40);
    EXPECT_EQ(m.sampler, "euler_ancestral");
    EXPECT_EQ(m.guidance_scale, 7.1);
    EXPECT_EQ(m.seed, 18446744073709551615u);
    EXPECT_EQ(m.model, "a, b");
  }
  EXPECT_EQ(json.index, 2);
}

TEST(Metadata, PicturesOfTheWebUi) {
  const PictureMetadata m = from_a1111(
      "a castle\nNegative prompt: blurry\nSteps: 25, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 4, Size: 512x768, "
      "Model hash: 6ce0161689, Model: v1-5, Lora hashes: \"x: 1, y: 2\", Version: v1.6.0",
      "x.png");
  EXPECT_EQ(m.prompt, "a castle");
  EXPECT_EQ(m.negative_prompt, "blurry");
  EXPECT_EQ(m.sampler, "dpmpp_2m");
  EXPECT_EQ(m.scheduler, "karras");
  EXPECT_EQ(m.guidance_scale, 7);
  EXPECT_EQ(m.width, 512);
  EXPECT_EQ(m.height, 768);
  EXPECT_EQ(m.model, "v1-5");
  EXPECT_EQ(m.prompt_style, "a1111");
  EXPECT_EQ(from_a1111("a\nSteps: 2, Clip skip: 2, Version: easel 0.1", "x.png").prompt_style, std::nullopt);
  EXPECT_EQ(from_a1111("a\nSteps: 2, Clip skip: 2", "x.png").clip_skip, 2);
}

TEST(Metadata, PromptStyles) {
  PictureMetadata m = example();
  m.prompt_style = "comfy";
  m.clip_skip = 2;
  m.embeddings = {"/a, b/c.safetensors", "~/x"};
  const io::PngText text = to_png_text(m);
  const PictureMetadata json = from_png_text(text, "x.png");
  EXPECT_EQ(json.prompt_style, "comfy");
  EXPECT_EQ(json.clip_skip, 2);
  EXPECT_EQ(json.embeddings, m.embeddings);
  const PictureMetadata a1111 = from_png_text({text[0]}, "x.png");
  EXPECT_EQ(a1111.prompt_style, "comfy");
  EXPECT_EQ(a1111.clip_skip, 2);
}

TEST(Metadata, SamplingComesBack) {
  PictureMetadata m = example();
  m.sampling.rng = "a1111_cpu";
  m.sampling.eta_noise_seed_delta = 31337;
  m.sampling.s_churn = 0.25;
  m.sampling.sigmas = "14.6, 3, 0";
  m.sampling.end_step = 2;
  m.seed = 10;
  const io::PngText text = to_png_text(m);
  const PictureMetadata json = from_png_text(text, "x.png");
  EXPECT_EQ(json.sampling.rng, "a1111_cpu");
  EXPECT_EQ(json.sampling.eta_noise_seed_delta, 31337u);
  EXPECT_EQ(json.sampling.s_churn, 0.25);
  EXPECT_EQ(json.sampling.sigmas, "14.6, 3, 0");
  EXPECT_EQ(json.sampling.end_step, 2);
  EXPECT_EQ(json.sampling.start_step, std::nullopt);
  EXPECT_EQ(json.seed, 10u);
  const PictureMetadata a1111 = from_png_text({text[0]}, "x.png");
  EXPECT_EQ(a1111.sampling.rng, "a1111_cpu");
  EXPECT_EQ(a1111.sampling.eta_noise_seed_delta, 31337u);
  EXPECT_EQ(a1111.seed, 12u);  // of the third picture
  TextToImageRequest request;
  json.sampling.apply(request);
  EXPECT_EQ(request.sampling.sigmas, (std::vector<double>{14.6, 3, 0}));
  EXPECT_EQ(request.steps, 2);
  SamplingArguments bad;
  for (const char* text : {"", "1,,0", "1,x", "1;0", "nan,0"}) {
    bad.sigmas = text;
    EXPECT_THROW(bad.apply(request), Error) << text;
  }
}

TEST(Metadata, WhatIsWrongIsNamed) {
  EXPECT_THROW(from_png_text({}, "x.png"), Error);
  EXPECT_THROW(from_png_text({{"Comment", "hello"}}, "x.png"), Error);
  EXPECT_THROW(from_png_text({{"easel", "{}"}}, "x.png"), Error);
  EXPECT_THROW(from_png_text({{"easel", R"({"prompt": "a", "steps": -1})"}}, "x.png"), Error);
  EXPECT_THROW(from_png_text({{"easel", R"({"prompt": "a", "seed": 1.5})"}}, "x.png"), Error);
  EXPECT_THROW(from_a1111("a castle", "x.png"), Error);
  EXPECT_THROW(from_a1111("a castle\nSteps: many", "x.png"), Error);
  EXPECT_NO_THROW(from_a1111("Steps: 20", "x.png"));
  EXPECT_NO_THROW(from_a1111("Negative prompt: a\nSteps: 20, Sampler: \"", "x.png"));
}

// Texts come from strangers' pictures: whatever they hold, they are read or refused.
TEST(Metadata, BrokenTextsNeverDoMore) {
  const io::PngText good = to_png_text(example());
  uint64_t state = 1;
  const auto random = [&](size_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((state >> 33) % below);
  };
  static constexpr char kAlphabet[] = "\n\"\\,:{}x9-.e \xff";  // and the zero at its end
  for (int i = 0; i < 20000; ++i) {
    std::pair<std::string, std::string> text = good[random(2)];
    for (size_t edits = 1 + random(4); edits > 0; --edits) {
      const size_t at = random(text.second.size() + 1);
      if (random(2)) text.second.insert(at, 1, kAlphabet[random(sizeof kAlphabet)]);
      if (random(2)) text.second.erase(at, 1 + random(6));
      if (random(8) == 0) text.second.resize(at);
    }
    try {
      from_png_text({text}, "x.png");
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }
}

TEST(Arguments, SizesOfMemory) {
  const auto bytes = [](const char* text) { return parse_bytes("--memory-limit", text); };
  EXPECT_EQ(bytes("2600000000"), 2600000000);
  EXPECT_EQ(bytes("2.6GB"), 2600000000);
  EXPECT_EQ(bytes("2600MiB"), int64_t{2600} << 20);
  EXPECT_EQ(bytes("2.5gib"), int64_t{5} << 29);
  EXPECT_EQ(bytes("2.5 G"), 2500000000);
  EXPECT_EQ(bytes("800k"), 800000);
  EXPECT_EQ(bytes("512B"), 512);
  for (const char* bad : {"", "GB", "-1GB", "2.6GBs", "1e9", "0", "0.1", "2,6GB", "iB", "1iB", "nan", "inf", "1XB",
                          "1G B", "99999999999999999999TB", "1BB"})
    EXPECT_THROW(bytes(bad), Error) << bad;
}

TEST(OutputFiles, TheIndexGoesOn) {
  const io::TestFolder folder;
  const std::string path = folder.path();
  EXPECT_EQ(next_index(path, "img"), 0);
  for (const char* name : {"img_007_steps20.png", "img_012_steps3_latents.safetensors", "img_x_steps3.png",
                           "img_99999999999999999999_steps1.png", "grid_040_steps1.png", "img_13.png"})
    std::ofstream(path + "/" + name) << "x";
  EXPECT_EQ(next_index(path, "img"), 13);
  EXPECT_EQ(next_index(path, "grid"), 41);
  EXPECT_EQ(next_index(path + "/missing", "img"), 0);
}

}  // namespace
}  // namespace easel::cli
