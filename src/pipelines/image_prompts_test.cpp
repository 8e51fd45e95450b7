// Pieces of image prompts; whole runs are in tests/e2e/test_ip_adapter.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include <easel/pipeline.h>

#include "exec/session.h"
#include "io/image.h"
#include "io/json_file.h"
#include "io/test_folder.h"
#include "pipelines/clip_image.h"
#include "pipelines/image_encoder_files.h"
#include "pipelines/ip_adapter_file.h"
#include "pipelines/model_tensors.h"
#include "pipelines/test_pipeline.h"
#include "tensor/test_tensors.h"

namespace easel::pipelines {
namespace {

const std::string kGoldens = EASEL_SOURCE_DIR "/tests/goldens/";
const std::string kFolder = kGoldens + "ip_adapter/";

std::string place(const std::string& name) {
  return name.starts_with("@@") ? kGoldens + name.substr(2) : kFolder + name.substr(1);
}

TEST(ClipImage, EqualsTransformersToTheBit) {
  const nlohmann::json index = io::read_json_file(kFolder + "index.json");
  const io::WeightFiles expected = io::WeightFiles::open(kFolder + "pixels.safetensors");
  ASSERT_GT(index["pixels"].size(), 10u);
  for (const auto& entry : index["pixels"]) {
    const std::string name = entry["picture"];
    const Tensor found = clip_pixel_values(io::read_image(place(name)), entry["size"]);
    if (entry.contains("tensor")) {
      EXPECT_TRUE(same_bits(found, expected.tensor(entry["tensor"].get<std::string>()).clone())) << entry.dump();
      continue;
    }
    uint64_t hash = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < found.bytes(); ++i) hash = (hash ^ static_cast<uint64_t>(found.raw()[i])) * 0x100000001b3u;
    EXPECT_EQ(fmt::format("{:016x}", hash), entry["fnv1a"]) << entry.dump();
  }
}

TEST(ClipImage, RefusesWhatIsNoPicture) {
  EXPECT_HAS(io::error_of([] { clip_pixel_values({0, 4, 3, {}}, 28); }, ErrorCode::invalid_argument), "0×4");
  const io::Image ribbon{2000, 1, 3, std::vector<uint8_t>(6000)};
  EXPECT_HAS(io::error_of([&] { clip_pixel_values(ribbon, 224); }, ErrorCode::invalid_argument), "2000×1");
}

// The list that says which matrix of a file is whose, against the networks themselves.
TEST(IpAdapter, LayersAreThoseOfTheNetwork) {
  for (const char* model : {"sd15/a", "sd15/b", "families/sd2", "families/xl", "families/refiner"}) {
    const models::UNet2DConditionConfig config = read_unet(kGoldens + model + "/unet", model).config;
    std::map<std::string, int64_t> expected;
    for (const auto& [name, shape] : unet_weights(config))
      if (const size_t at = name.find(".attn2.to_k.weight"); at != std::string::npos)
        expected[name.substr(0, at) + ".attn2"] = shape[0];
    std::map<std::string, int64_t> found;
    for (const models::CrossAttentionLayer& layer : models::cross_attention_layers(config))
      EXPECT_TRUE(found.emplace(layer.name, layer.channels).second) << layer.name;
    EXPECT_EQ(found, expected) << model;
  }
  const auto layers = models::cross_attention_layers(read_unet(kGoldens + "sd15/a/unet", "a").config);
  EXPECT_TRUE(layers.front().name.starts_with("down_blocks.0.")) << layers.front().name;
  EXPECT_TRUE(layers.back().name.starts_with("mid_block.")) << "the middle comes last, as in torch's modules";
}

// Sizes by the tensors alone are those of config.json, but for what no tensor shows.
TEST(ImageEncoder, SizesAreReadOffAFile) {
  io::TestFolder folder;
  const std::string alone = folder.path() + "/alone.safetensors";
  std::filesystem::copy_file(kFolder + "image_encoder/model.safetensors", alone);
  EXPECT_HAS(io::error_of([&] { read_image_encoder(alone, "--image-encoder x"); }, ErrorCode::unsupported),
             "width 32, which is none of the published ones");
  std::filesystem::copy_file(kFolder + "image_encoder/config.json", folder.path() + "/config.json");
  EXPECT_EQ(read_image_encoder(alone, "--image-encoder x").config.hidden_size, 32);
  const models::ClipVisionConfig whole = read_image_encoder(kFolder + "image_encoder_wide", "x").config;
  EXPECT_EQ(whole.tokens(), 17);
  EXPECT_EQ(whole.num_attention_heads, 5);
  EXPECT_EQ(whole.projection_dim, 20);
}

TEST(ImageEncoder, NamesOfOpenClip) {
  models::ClipVisionConfig config{
      .hidden_size = 16, .intermediate_size = 32, .num_hidden_layers = 2, .num_attention_heads = 2};
  const auto weights = weights_of({models::clip_vision_model(config, models::ClipVisionOutput::image_embeds),
                                   models::clip_vision_model(config, models::ClipVisionOutput::penultimate_states)});
  std::map<std::string, Shape> stored;
  for (const TensorLayout& layout : layouts_of(weights, open_clip_vision_names("")))
    stored.emplace(layout.name, layout.shape);
  // As open_clip's VisionTransformer saves them.
  for (const auto& [name, shape] :
       std::map<std::string, Shape>{{"visual.class_embedding", {16}},
                                    {"visual.conv1.weight", {16, 3, 32, 32}},
                                    {"visual.positional_embedding", {50, 16}},
                                    {"visual.ln_pre.weight", {16}},
                                    {"visual.ln_post.bias", {16}},
                                    {"visual.proj", {16, 512}},
                                    {"visual.transformer.resblocks.1.attn.in_proj_weight", {48, 16}},
                                    {"visual.transformer.resblocks.0.attn.out_proj.bias", {16}},
                                    {"visual.transformer.resblocks.1.ln_2.weight", {16}},
                                    {"visual.transformer.resblocks.1.mlp.c_fc.weight", {32, 16}},
                                    {"visual.transformer.resblocks.1.mlp.c_proj.weight", {16, 32}}}) {
    ASSERT_TRUE(stored.contains(name)) << name;
    EXPECT_TRUE(stored.at(name) == shape) << name << " " << stored.at(name).str();
  }
}

Tensor run(const graph::Graph& graph, const std::shared_ptr<const FileWeights>& weights, const char* input,
           const Tensor& values, const char* output) {
  const auto context = std::make_shared<device::Context>(1);
  exec::WeightStore store(weights, context);
  exec::Session session(exec::compile(graph, store, context, {}));
  session.set(input, values);
  session.run();
  return session.tensor(output).clone();
}

// What a picture hides (a wrong eps, a layer too many) shows in one network alone.
TEST(ImagePrompts, NetworksByThemselves) {
  const nlohmann::json jitter = io::read_json_file(kFolder + "index.json")["modules"];
  const io::WeightFiles golden = io::WeightFiles::open(kFolder + "modules.safetensors");
  const auto check = [&](const std::string& module, const std::string& output, const Tensor& found) {
    const std::string name = module + "." + output;
    const double error = relative_l2(found, golden.tensor(name).clone());
    EXPECT_LT(error, std::max(10 * jitter.at(name).get<double>(), 1e-6)) << name;
    EXPECT_LT(jitter.at(name).get<double>(), 2e-6) << name;
  };
  for (const char* name : {"image_encoder", "image_encoder_wide"}) {
    const ImageEncoderFiles files = read_image_encoder(kFolder + name, name);
    const Tensor pixels = golden.tensor(std::string(name) + ".in").clone();
    const auto graph = [&](models::ClipVisionOutput output) { return models::clip_vision_model(files.config, output); };
    check(name, "image_embeds",
          run(graph(models::ClipVisionOutput::image_embeds), files.weights, "pixel_values", pixels, "image_embeds"));
    check(name, "penultimate_states",
          run(graph(models::ClipVisionOutput::penultimate_states), files.weights, "pixel_values", pixels,
              "penultimate_states"));
  }
  for (const char* file : {"plain_wide.bin", "plus.safetensors", "full.bin"}) {
    const auto adapter = IpAdapterFile::open(kFolder + file);
    const std::string name = std::string(file).substr(0, std::string(file).find('.'));
    const Tensor features = golden.tensor(name + ".in").clone();
    check(name, "tokens",
          run(models::ip_adapter_tokens(adapter->config(), features.dim(1)), adapter->weights(), "features", features,
              "tokens"));
  }
}

TextToImageRequest prompted() {
  TextToImageRequest r;
  r.prompt = "a red balloon";
  r.steps = 2;
  r.seed = 3;
  r.width = 40;
  r.height = 32;
  IpAdapter adapter;
  adapter.path = kFolder + "plus.safetensors";
  adapter.images = {PictureSource::file(kGoldens + "jobs/picture.png")};
  r.ip_adapters = {adapter};
  return r;
}

TEST(ImagePrompts, HistoryChangesNoBit) {
  for (const bool keep : {true, false}) {
    LoadOptions options = fp32_options();
    options.keep_text_encoder = keep;
    auto pipeline = TextToImagePipeline::load(kGoldens + "sd15/a", options);
    const TextToImageRequest plus = prompted();
    TextToImageRequest without = plus, plain = plus, both = plus;
    without.ip_adapters.clear();
    plain.ip_adapters[0].path = kFolder + "plain.safetensors";
    both.ip_adapters.push_back(plain.ip_adapters[0]);
    both.ip_adapters[1].scale = 0.5;
    both.image = {};
    const Tensor bare = pipeline.generate(without).latents, first = pipeline.generate(plus).latents;
    const Tensor other = pipeline.generate(plain).latents, two = pipeline.generate(both).latents;
    EXPECT_FALSE(same_bits(first, bare));
    EXPECT_FALSE(same_bits(first, other)) << "another adapter in the same slot";
    EXPECT_FALSE(same_bits(two, first));
    EXPECT_TRUE(same_bits(pipeline.generate(without).latents, bare)) << "undone";
    EXPECT_TRUE(same_bits(pipeline.generate(plus).latents, first));
    EXPECT_TRUE(same_bits(pipeline.generate(both).latents, two));
    EXPECT_TRUE(same_bits(pipeline.generate(plain).latents, other));
  }
}

TEST(ImagePrompts, OneBranchAfterTheOther) {
  const TextToImageRequest r = prompted();
  auto pipeline = TextToImagePipeline::load(kGoldens + "sd15/a", fp32_options());
  const Tensor expected = pipeline.generate(r).latents;
  LoadOptions small = fp32_options();
  small.offload = true;
  auto offloaded = TextToImagePipeline::load(kGoldens + "sd15/a", small);
  for (int round = 0; round < 2; ++round) EXPECT_TRUE(same_bits(offloaded.generate(r).latents, expected)) << round;
  EXPECT_NE(pipeline.describe(r).find("image_encoder – CLIPVisionModelWithProjection"), std::string::npos);
}

}  // namespace
}  // namespace easel::pipelines
