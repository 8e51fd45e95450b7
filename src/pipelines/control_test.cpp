// ControlNets: single networks against diffusers, their names, and when they act.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "exec/session.h"
#include "io/json_file.h"
#include "io/test_folder.h"
#include "pipelines/configs.h"
#include "pipelines/control_nets.h"
#include "pipelines/test_pipeline.h"
#include "tensor/test_tensors.h"

namespace easel::pipelines {
namespace {

const std::string kFolder = EASEL_SOURCE_DIR "/tests/goldens/control/";
const std::string kWeights = "diffusion_pytorch_model.safetensors";

models::ControlNetConfig config_of(const std::string& name) {
  return control_net_config(io::JsonObject::from_file(kFolder + name + "/config.json"));
}

// [B, H, W, C] → [B, C, H, W]
Tensor channels_first(const Tensor& x) {
  const int64_t b = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  Tensor out = Tensor::empty(DType::f32, {b, c, h, w});
  for (int64_t i = 0; i < b; ++i)
    for (int64_t k = 0; k < c; ++k)
      for (int64_t p = 0; p < h * w; ++p)
        out.data<float>()[(i * c + k) * h * w + p] = x.data<float>()[(i * h * w + p) * c + k];
  return out;
}

// Guess mode at strength 0.8, as the golden was made.
std::vector<float> golden_scales(size_t residuals) {
  std::vector<float> out;
  for (size_t i = 0; i < residuals; ++i)
    out.push_back(0.8f * std::pow(10.0f, static_cast<float>(i) / static_cast<float>(residuals - 1) - 1.0f));
  return out;
}

void check_module(const std::string& name, bool accumulates) {
  const io::WeightFiles golden = io::WeightFiles::open(kFolder + "module_" + name + ".safetensors");
  const models::ControlNetConfig config = config_of(name);
  const auto weights = std::make_shared<FileWeights>(
      io::WeightFiles::open(kFolder + name + "/diffusion_pytorch_model.safetensors"), prefixed_names(""));
  const auto context = std::make_shared<device::Context>(1);
  exec::WeightStore store(weights, context);
  exec::CompileOptions options;
  options.bindings = {{"batch", 2}, {"height", 5}, {"width", 7}, {"tokens", 6}};
  exec::Session session(exec::compile(models::control_net(config, accumulates), store, context, options));
  for (const char* input :
       {"sample", "timestep", "encoder_hidden_states", "controlnet_cond", "text_embeds", "time_ids"})
    if (golden.find(std::string("in.") + input)) session.set(input, golden.tensor(std::string("in.") + input).clone());
  const std::vector<std::string> outputs = models::control_net_outputs(config);
  const std::vector<std::string> targets = models::control_net_targets(config);
  const std::vector<float> scales = golden_scales(outputs.size());
  for (int64_t row = 0; row < 2; ++row)
    std::copy(scales.begin(), scales.end(),
              session.tensor("conditioning_scales").rows(row, row + 1).span<float>().begin());
  if (accumulates)
    for (const std::string& target : targets)
      for (float& value : session.tensor(target).span<float>()) value = 3;
  session.run();
  ASSERT_EQ(outputs.size(), config.skips() + 1);
  for (const std::string& output : outputs) {
    const Tensor expected = golden.tensor("out." + output).clone();
    Tensor found = channels_first(session.tensor(output));
    if (accumulates)
      for (float& value : found.span<float>()) value -= 3;
    EXPECT_LT(relative_l2(found, expected), accumulates ? 5e-5 : 1e-5) << name << " " << output;
  }
}

TEST(ControlNet, GivesWhatDiffusersGives) {
  for (const char* name : {"edges", "xl"}) {
    check_module(name, false);
    check_module(name, true);
  }
}

// The sums of skips and residuals are written where they belong beside the sample, like the skips alone.
TEST(ControlNet, ResidualsCostNoCopies) {
  const models::UNet2DConditionConfig config =
      unet_2d_condition_config(io::JsonObject::from_file(EASEL_SOURCE_DIR "/bench/configs/sd15/unet/config.json"));
  const auto context = std::make_shared<device::Context>(1);
  const auto concats = [&](bool control) {
    exec::WeightStore store(nullptr, context);
    exec::CompileOptions options;
    options.bindings = {{"batch", 2}, {"height", 64}, {"width", 64}, {"tokens", 77}};
    options.plan_only = true;
    const auto program = exec::compile(models::unet_2d_condition(config, {.perturbed_layers = {}, .control = control}),
                                       store, context, options);
    int64_t count = 0;
    for (const exec::EntryProgram& entry : program->entries())
      count += std::ranges::count_if(entry.commands, [](const exec::Command& command) {
        return std::holds_alternative<ops::ConcatAttrs>(command.call.attrs);
      });
    return count;
  };
  EXPECT_LE(concats(true), concats(false));
}

TEST(ControlNet, NamesOfTheOriginalProgram) {
  const models::ControlNetConfig config = config_of("edges");
  const NameCandidates names = ldm_control_net_names(config, "control_model.");
  std::ifstream in(kFolder + "original_names.tsv");
  std::string ours, theirs;
  int count = 0;
  for (; in >> ours >> theirs; ++count) EXPECT_EQ(names(ours).front().name, theirs) << ours;
  EXPECT_GT(count, 100);
}

TEST(ControlNet, WhatTensorsSayIsWhatTheConfigurationSays) {
  const models::ControlNetConfig told = config_of("xl");
  models::UNet2DConditionConfig like = told.encoder;
  like.in_channels = 9;  // of an inpainting model: that of the network is its own
  // A file beside its config.json, and one without.
  const io::TestFolder folder;
  std::filesystem::copy_file(kFolder + "xl/diffusion_pytorch_model.safetensors", folder / "alone.safetensors");
  for (const std::string& path : {kFolder + "xl/diffusion_pytorch_model.safetensors", folder / "alone.safetensors"}) {
    const ControlFiles read = read_control(path, "x", like);
    ASSERT_TRUE(read.control_net);
    const models::ControlNetConfig& found = *read.control_net;
    EXPECT_EQ(found.encoder.in_channels, 4);
    EXPECT_EQ(found.conditioning_embedding_out_channels, told.conditioning_embedding_out_channels);
    ASSERT_EQ(found.encoder.levels.size(), told.encoder.levels.size());
    for (size_t i = 0; i < told.encoder.levels.size(); ++i) {
      EXPECT_EQ(found.encoder.levels[i].heads, told.encoder.levels[i].heads);
      EXPECT_EQ(found.encoder.levels[i].attention_down, told.encoder.levels[i].attention_down);
    }
    EXPECT_EQ(found.encoder.pooled_dim, told.encoder.pooled_dim);
  }
  EXPECT_EQ(told.picture_factor(), 8);
  EXPECT_EQ(told.skips(), 6u);
}

TextToImageRequest request_with(const std::vector<std::string>& nets) {
  TextToImageRequest r;
  r.prompt = "a cat";
  r.negative_prompt = "";
  r.steps = 2;
  r.width = 56;
  r.height = 40;
  for (const std::string& net : nets)
    r.control_nets.push_back({.path = kFolder + net, .image = PictureSource::file(kFolder + "edges.png")});
  return r;
}

bool same(const TextToImageResult& a, const TextToImageResult& b) {
  return std::ranges::equal(a.latents.span<float>(), b.latents.span<float>());
}

// Networks come and go while the model stays; nothing of one request is seen in the next.
TEST(ControlNet, OneRequestDoesNotDependOnTheOneBefore) {
  auto pipeline = TextToImagePipeline::load(EASEL_SOURCE_DIR "/tests/goldens/sd15/a", fp32_options());
  const TextToImageResult plain = pipeline.generate(request_with({})),
                          edges = pipeline.generate(request_with({"edges"})),
                          both = pipeline.generate(request_with({"edges", "depth"}));
  EXPECT_FALSE(same(plain, edges));
  EXPECT_FALSE(same(edges, both));
  EXPECT_TRUE(same(both, pipeline.generate(request_with({"edges", "depth"}))));
  TextToImageRequest guess = request_with({"edges"});
  guess.control_guess_mode = true;
  EXPECT_FALSE(same(edges, pipeline.generate(guess)));
  EXPECT_TRUE(same(edges, pipeline.generate(request_with({"edges"}))));
  EXPECT_FALSE(same(edges, pipeline.generate(request_with({"gray", "edges"}))));
  EXPECT_TRUE(same(plain, pipeline.generate(request_with({}))));
  TextToImageRequest late = request_with({"edges", "depth"});
  late.control_nets[0].scale = 0;  // the second network acts alone, then both, then the first one alone
  pipeline.generate(late);
  late.control_nets[0].scale = 1;
  EXPECT_TRUE(same(both, pipeline.generate(late)));
}

TEST(ControlNet, ThePlanCountsIt) {
  auto pipeline = TextToImagePipeline::load(EASEL_SOURCE_DIR "/tests/goldens/sd15/a", fp32_options());
  const auto denoising = [&](const std::vector<std::string>& nets) {
    return nlohmann::json::parse(pipeline.describe_json(request_with(nets)))["memory"]["denoising"].get<int64_t>();
  };
  const int64_t none = denoising({}), one = denoising({"edges"}), two = denoising({"edges", "depth"});
  const auto weights = static_cast<int64_t>(std::filesystem::file_size(kFolder + "edges/" + kWeights)) * 2;  // fp16
  EXPECT_GT(one - none, weights / 2);
  EXPECT_LT(one - none, 2 * weights + (int64_t{1} << 20));
  EXPECT_GT(two - one, weights / 2);
  // The same file twice is packed once.
  EXPECT_LT(denoising({"edges", "edges"}) - one, weights);
}

TEST(ControlUse, ActsInItsPartOfTheRuns) {
  ControlUse use;
  use.net = std::make_shared<ControlNet>();
  use.scales = {0, 1};
  use.start = 0.2;
  use.end = 0.7;
  EXPECT_TRUE(use.acts());
  // diffusers: 1 - (i/n < start or (i + 1)/n > end)
  std::vector<int> acting;
  for (int i = 0; i < 10; ++i)
    if (use.acts_at(i, 10, 0)) acting.push_back(i);
  EXPECT_EQ(acting, (std::vector<int>{2, 3, 4, 5, 6}));
  EXPECT_FALSE(use.acts_at(0, 0, 0.1));
  EXPECT_TRUE(use.acts_at(0, 0, 0.5));
  use.scales = {0, 0};
  EXPECT_FALSE(use.acts());
  // Adapters: i < int(num_inference_steps · factor), whatever runs follow (PLMS has one more).
  use.net->adapter.emplace();
  use.start = 0;
  use.steps = 10;
  acting.clear();
  for (int i = 0; i < 11; ++i)
    if (use.acts_at(i, 11, 0)) acting.push_back(i);
  EXPECT_EQ(acting, (std::vector<int>{0, 1, 2, 3, 4, 5, 6}));
}

}  // namespace
}  // namespace easel::pipelines
