#include "pipelines/families.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "io/safetensors.h"
#include "io/test_folder.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {
namespace {

using Tensors = std::map<std::string, Shape>;

/// A file of zeros with these tensors.
std::string file_of(const io::TestFolder& folder, const Tensors& tensors,
                    const std::map<std::string, std::string>& metadata = {}) {
  std::vector<std::pair<std::string, Tensor>> values;
  for (const auto& [name, shape] : tensors) values.emplace_back(name, Tensor::zeros(DType::f8_e4m3, shape));
  const std::string path = folder / "x.safetensors";
  io::write_safetensors(path, values, metadata);
  return path;
}
Identity identity_of(const Tensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
  const io::TestFolder folder;
  return identify(io::WeightFiles::open(file_of(folder, tensors, metadata)));
}

const std::string kUNet = "model.diffusion_model.", kK1 = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
                  kK4 = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", kIn = "input_blocks.0.0.weight",
                  kVae = "first_stage_model.decoder.mid.block_1.conv1.weight",
                  kText = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight";

TEST(Families, CheckpointsByTheWidthOfTheirText) {
  const auto checkpoint = [](const std::string& tensor, Shape shape, int64_t channels) {
    return identity_of(
        {{kUNet + tensor, shape}, {kUNet + kIn, {320, channels, 3, 3}}, {kVae, {2, 2, 3, 3}}, {kText, {2, 768}}});
  };
  EXPECT_EQ(checkpoint(kK1, {320, 768}, 4).summary(), "Stable Diffusion 1.x, whole checkpoint");
  EXPECT_EQ(checkpoint(kK1, {320, 768}, 9).summary(), "Stable Diffusion 1.x, inpainting, whole checkpoint");
  EXPECT_EQ(checkpoint(kK1, {320, 768}, 8).summary(), "Stable Diffusion 1.x, instruct-pix2pix, whole checkpoint");
  EXPECT_EQ(checkpoint(kK1, {320, 1024}, 4).summary(), "Stable Diffusion 2.x, whole checkpoint");
  EXPECT_EQ(checkpoint(kK4, {640, 2048}, 4).summary(), "Stable Diffusion XL, whole checkpoint");
  EXPECT_EQ(checkpoint(kK4, {768, 1280}, 4).summary(), "Stable Diffusion XL refiner, whole checkpoint");
  EXPECT_EQ(identity_of({{kUNet + kK1, {320, 768}}}).summary(), "Stable Diffusion 1.x, UNet or transformer");
  EXPECT_EQ(identity_of({{kK1, {320, 768}}}).summary(), "Stable Diffusion 1.x, UNet or transformer");
  EXPECT_EQ(identity_of({{"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", {320, 1024}}}).summary(),
            "Stable Diffusion 2.x, UNet or transformer");
  EXPECT_EQ(identity_of({{"double_blocks.0.img_attn.norm.key_norm.scale", {128}}}).find(Part::denoiser)->row->family,
            std::string("FLUX"));
}

TEST(Families, SmallModelsByTheirStructure) {
  const std::string clip = "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
                    open_clip = "token_embedding.weight", sizes = "label_emb.0.0.weight";
  const Tensors xl = {{kUNet + sizes, {32, 68}},
                      {kUNet + kK4, {8, 64}},
                      {kVae, {2, 2, 3, 3}},
                      {clip, {2, 24}},
                      {"conditioner.embedders.1.model." + open_clip, {2, 40}}};
  EXPECT_EQ(identity_of(xl).summary(), "Stable Diffusion XL, whole checkpoint");
  EXPECT_EQ(
      std::ranges::count_if(identity_of(xl).parts, [](const Match& m) { return m.row->part == Part::text_encoder; }),
      2);
  const Tensors refiner = {
      {kUNet + sizes, {32, 60}}, {kVae, {2, 2, 3, 3}}, {"conditioner.embedders.0.model." + open_clip, {2, 40}}};
  EXPECT_EQ(identity_of(refiner).summary(), "Stable Diffusion XL refiner, whole checkpoint");
  EXPECT_EQ(identity_of({{kUNet + sizes, {1536, 2560}}}).summary(), "Stable Diffusion XL refiner, UNet or transformer");
  const std::string projection = "input_blocks.1.1.proj_in.weight";
  EXPECT_EQ(identity_of({{kUNet + kK1, {8, 32}}, {kUNet + projection, {8, 8}}}).summary(),
            "Stable Diffusion 2.x, UNet or transformer");
  EXPECT_EQ(identity_of({{kUNet + kK1, {8, 32}}, {kUNet + projection, {8, 8, 1, 1}}}).summary(),
            "Stable Diffusion 1.x, UNet or transformer");
  // The real ones are told by the width of their text, whatever the rest looks like.
  EXPECT_EQ(identity_of({{kUNet + kK1, {320, 768}}, {kUNet + projection, {320, 320}}}).summary(),
            "Stable Diffusion 1.x, UNet or transformer");
}

TEST(Families, OtherFilesAreToldByName) {
  EXPECT_EQ(identity_of({{"lora_unet_down_blocks_0.lora_down.weight", {4, 320}}}).summary(), "LoRA");
  EXPECT_EQ(identity_of({{"unet.down_blocks.0.to_q.lora_A.weight", {4, 320}}}).summary(), "LoRA");
  EXPECT_EQ(identity_of({{"x.hada_w1_a", {4, 320}}}).summary(), "LoHa (LoRA)");
  EXPECT_EQ(identity_of({{"x.lokr_w1_a", {4, 320}}}).summary(), "LoKr (LoRA)");
  EXPECT_EQ(identity_of({{"lora_unet_x.oft_blocks", {4, 4, 4}}}).summary(), "OFT (LoRA)");
  for (const char* name : {"lora_te1_x.lora_up.weight", "base_model.model.x.to_q.lora_A.default.weight",
                           "unet.mid_block.x.processor.to_q_lora.down.weight", "unet.x.to_q.lora.down.weight",
                           "text_encoder.x.q_proj.lora_linear_layer.down.weight", "lora_unet_x.diff"})
    EXPECT_EQ(identity_of({{name, {4, 320}}}).summary(), "LoRA") << name;
  EXPECT_EQ(identity_of({{"controlnet_blocks.0.weight", {4, 4}}}).summary(), "ControlNet");
  EXPECT_EQ(identity_of({{"lllite_unet_x.conditioning1.0.weight", {4, 3, 4, 4}}}).summary(), "ControlNet-LLLite");
  EXPECT_EQ(identity_of({{"<cat-toy>", {768}}}).summary(), "textual inversion (embedding)");
  EXPECT_EQ(identity_of({{"clip_l", {4, 768}}}).summary(), "textual inversion (embedding)");
  EXPECT_EQ(identity_of({{"vision_model.embeddings.class_embedding", {1024}}}).summary(), "CLIP image encoder");
  EXPECT_EQ(identity_of({{"vision_model.embeddings.class_embedding", {1024}},
                         {"text_model.embeddings.token_embedding.weight", {2, 768}}})
                .summary(),
            "text encoder (CLIP-L)");
  EXPECT_EQ(identity_of({{"control_model.input_hint_block.0.weight", {16, 3, 3, 3}}}).summary(), "ControlNet");
  EXPECT_EQ(identity_of({{"controlnet_cond_embedding.conv_in.weight", {16, 3, 3, 3}},
                         {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", {320, 768}}})
                .summary(),
            "ControlNet for Stable Diffusion 1.x");
  EXPECT_EQ(identity_of({{"control_model.input_hint_block.0.weight", {16, 3, 3, 3}},
                         {"control_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", {640, 2048}}})
                .summary(),
            "ControlNet for Stable Diffusion XL");
  EXPECT_EQ(identity_of({{"decoder.mid.block_1.conv1.weight", {2, 2, 3, 3}}}).summary(), "VAE (AutoencoderKL)");
  EXPECT_EQ(identity_of({{"text_model.embeddings.token_embedding.weight", {2, 768}}}).summary(),
            "text encoder (CLIP-L)");
  EXPECT_EQ(identity_of({{"encoder.block.0.layer.0.SelfAttention.q.weight", {2, 2}}}).summary(), "text encoder (T5)");
  EXPECT_EQ(identity_of({{"something", {2}}}).summary(), "unknown");
}

TEST(Families, PredictionTypeAndWhy) {
  const Tensors sd1 = {{kUNet + kK1, {320, 768}}}, sd2 = {{kUNet + kK1, {320, 1024}}};
  EXPECT_EQ(identity_of(sd1).prediction_type, "epsilon");
  EXPECT_EQ(identity_of(sd2).prediction_type, "v_prediction");
  EXPECT_EQ(identity_of(sd2, {{"global_step", "875000"}}).prediction_type, "epsilon");
  EXPECT_EQ(identity_of(sd1, {{"modelspec.prediction_type", "v"}}).prediction_type, "v_prediction");
  Tensors marked = sd1;
  marked["v_pred"] = {};
  EXPECT_EQ(identity_of(marked).prediction_type, "v_prediction");
  EXPECT_NE(identity_of(marked).prediction_reason.find("v_pred"), std::string::npos);
}

std::string refused(const Tensors& tensors, ErrorCode code, const ComponentPaths& replaced = {}) {
  const io::TestFolder folder;
  const std::string path = file_of(folder, tensors);
  return io::error_of([&] { read_single_file(path, replaced); }, code);
}

TEST(SingleFile, WhatIsNoModelSaysWhatItIs) {
  EXPECT_HAS(refused({{"a.lora_down.weight", {4, 320}}}, ErrorCode::unsupported), "LoRA");
  EXPECT_HAS(refused({{"control_model.input_hint_block.0.weight", {16, 3, 3, 3}}}, ErrorCode::unsupported),
             "ControlNet");
  EXPECT_HAS(refused({{"first_stage_model.decoder.mid.block_1.conv1.weight", {2, 2, 3, 3}}}, ErrorCode::unsupported),
             "--vae takes it");
  EXPECT_HAS(refused({{"a", {2}}}, ErrorCode::unsupported), "unknown model");
  EXPECT_HAS(refused({{"double_blocks.0.img_attn.norm.key_norm.scale", {128}}, {kVae, {2, 2, 3, 3}}, {kText, {2, 768}}},
                     ErrorCode::unsupported),
             "FLUX");
}

TEST(Folders, WhatIsNoModelSaysWhatItIs) {
  const auto refused_folder = [](const auto& fill) {
    const io::TestFolder folder;
    fill(folder);
    return io::error_of([&] { read_model(folder.path()); });
  };
  const auto with_config = [&](const char* config) {
    return refused_folder([&](const io::TestFolder& folder) { folder.write("config.json", config); });
  };
  EXPECT_HAS(with_config(R"({"_class_name": "ControlNetModel"})"),
             "one part, ControlNetModel; it steers another model");
  EXPECT_HAS(with_config(R"({"_class_name": "AutoencoderKL"})"), "--vae takes it");
  EXPECT_HAS(with_config(R"({"architectures": ["CLIPTextModel"]})"), "--text-encoder takes it");
  EXPECT_HAS(with_config("{"), "model_index.json, found none");
  EXPECT_HAS(refused_folder([](const io::TestFolder& folder) {
               file_of(folder, {{"a.lora_A.weight", {4, 320}}});
             }),
             "(LoRA)");
  EXPECT_HAS(refused_folder([](const io::TestFolder&) {}), "model_index.json, found none");
}

TEST(SingleFile, MissingPartsNameTheirOption) {
  const std::string no_text = refused({{kUNet + kK1, {320, 768}}, {kVae, {2, 2, 3, 3}}}, ErrorCode::io);
  EXPECT_HAS(no_text, "no text encoder");
  EXPECT_HAS(no_text, "--text-encoder FILE");
  const std::string xl = refused({{kUNet + kK4, {640, 2048}}, {kVae, {2, 2, 3, 3}}, {kText, {2, 768}}}, ErrorCode::io);
  EXPECT_HAS(xl, "no second text encoder");
  EXPECT_HAS(xl, "--text-encoder-2 FILE");
  const std::string alone = refused({{kUNet + kK1, {320, 768}}}, ErrorCode::io);
  EXPECT_HAS(alone, "--vae FILE and --text-encoder FILE");
}

TEST(SingleFile, MixedFamiliesAreRefused) {
  EXPECT_HAS(refused({{kUNet + kK1, {320, 768}}, {kUNet + kK4, {640, 2048}}, {kVae, {2, 2, 3, 3}}, {kText, {2, 768}}},
                     ErrorCode::unsupported),
             "two mixed: Stable Diffusion XL");
  EXPECT_HAS(refused({{kUNet + kK1, {320, 768}},
                      {kVae, {2, 2, 3, 3}},
                      {"cond_stage_model.model.token_embedding.weight", {2, 1024}}},
                     ErrorCode::unsupported),
             "OpenCLIP-H");
}

}  // namespace
}  // namespace easel::pipelines
