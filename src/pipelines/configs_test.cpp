#include "pipelines/configs.h"

#include <gtest/gtest.h>

#include <cmath>

#include <easel/error.h>

#include "pipelines/config_json.h"

namespace easel::pipelines {
namespace {

io::JsonObject object(const char* text) { return {nlohmann::json::parse(text), "config.json"}; }

std::string error_of(const char* text) {
  try {
    unet_2d_condition_config(object(text));
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Configs, DefaultsAreTheClasses) {
  const auto config = unet_2d_condition_config(object("{}"));
  ASSERT_EQ(config.levels.size(), 4u);
  EXPECT_EQ(config.levels[0].channels, 320);
  EXPECT_EQ(config.levels[0].attention_down, std::vector<int>({1, 1}));
  EXPECT_TRUE(config.levels[3].attention_down.empty());
  EXPECT_TRUE(config.levels[3].attention_up.empty());
  EXPECT_EQ(config.levels[2].heads, 8);
}

TEST(Configs, OneNumberOrOnePerLevel) {
  const auto config = unet_2d_condition_config(object(
      R"({"block_out_channels": [32, 64], "attention_head_dim": [2, 4], "layers_per_block": 1,
          "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
          "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]})"));
  EXPECT_EQ(config.levels[0].heads, 2);
  EXPECT_EQ(config.levels[1].heads, 4);
  EXPECT_EQ(config.mid_heads, 4);
  EXPECT_TRUE(config.levels[0].attention_up.empty());
  EXPECT_EQ(config.levels[1].attention_up, std::vector<int>({1, 1}));
}

TEST(Configs, MidBlockMayBeAbsent) {
  EXPECT_FALSE(unet_2d_condition_config(object(R"({"mid_block_type": null})")).mid_block);
  EXPECT_TRUE(unet_2d_condition_config(object("{}")).mid_block);
}

TEST(Configs, DepthsMayDifferWithinALevel) {
  // As SSD-1B has them.
  const auto config = unet_2d_condition_config(object(
      R"({"block_out_channels": [32, 32, 64], "layers_per_block": 2, "transformer_layers_per_block": [1, [2, 2], [4, 5]],
          "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1], "mid_block_type": "UNetMidBlock2D",
          "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
          "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]})"));
  EXPECT_EQ(config.levels[2].attention_down, std::vector<int>({4, 5}));
  EXPECT_EQ(config.levels[2].attention_up, std::vector<int>({4, 4, 10}));
  EXPECT_EQ(config.levels[1].attention_up, std::vector<int>({2, 1, 1}));
  EXPECT_TRUE(config.levels[0].attention_up.empty());
  EXPECT_TRUE(config.mid_block);
  EXPECT_EQ(config.mid_attention_layers, 0);
  const auto refused = [](const char* depths) {
    return error_of((std::string(R"({"block_out_channels": [32, 64], "down_block_types": ["DownBlock2D",
        "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], )") +
                     depths + "}")
                        .c_str());
  };
  for (const char* depths :
       {R"("transformer_layers_per_block": [1, [2, 2]])", R"("transformer_layers_per_block": [1])",
        R"("transformer_layers_per_block": [1, 0])", R"("transformer_layers_per_block": [1, "2"])",
        R"("transformer_layers_per_block": [1, [2]], "reverse_transformer_layers_per_block": [[1, 1, 1], 1])",
        R"("transformer_layers_per_block": [1, [2, 2]], "reverse_transformer_layers_per_block": [[1, 1], 1])"})
    EXPECT_NE(refused(depths).find("transformer_layers_per_block'"), std::string::npos) << depths << refused(depths);
}

TEST(Configs, WhatIsToldBesideTheText) {
  const auto xl = unet_2d_condition_config(object(
      R"({"addition_embed_type": "text_time", "addition_time_embed_dim": 256,
          "projection_class_embeddings_input_dim": 2816, "time_cond_proj_dim": 64})"));
  EXPECT_EQ(xl.pooled_dim, 1280);
  EXPECT_EQ(xl.time_ids(), 6);
  EXPECT_EQ(xl.time_cond_proj_dim, 64);
  EXPECT_NE(error_of(R"({"addition_embed_type": "text_time", "addition_time_embed_dim": 8,
                         "projection_class_embeddings_input_dim": 40})")
                .find("more than five times"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"addition_embed_type": "image"})").find("text_time"), std::string::npos);
  const std::vector<float> embedding = models::guidance_scale_embedding(1.5, 5);
  ASSERT_EQ(embedding.size(), 5u);
  EXPECT_FLOAT_EQ(embedding[0], std::sin(500.0f));
  EXPECT_FLOAT_EQ(embedding[2], std::cos(500.0f));
  EXPECT_NEAR(embedding[1], std::sin(0.05), 1e-6);
  EXPECT_EQ(embedding[4], 0);
}

TEST(Configs, LatentsMayBeScaledByChannel) {
  const auto vae = autoencoder_kl_config(
      object(R"({"scaling_factor": 0.5, "latents_mean": [1, 2, 3, 4], "latents_std": [1, 2, 4, 8]})"));
  EXPECT_EQ(vae.latent_scale(2).scale, 0.125f);
  EXPECT_EQ(vae.latent_scale(2).shift, 3);
  EXPECT_EQ(autoencoder_kl_config(object(R"({"latents_mean": null})")).latent_scale(1).scale, 0.18215f);
  EXPECT_THROW(autoencoder_kl_config(object(R"({"latents_mean": [1, 2], "latents_std": [1, 2]})")), Error);
  EXPECT_THROW(autoencoder_kl_config(object(R"({"latents_mean": [1, 2, 3, 4], "latents_std": [1, 2, 3, 0]})")), Error);
}

TEST(Configs, ErrorsNameFileKeyAndValue) {
  EXPECT_NE(error_of(R"({"block_out_channels": [-320]})").find("'block_out_channels'"), std::string::npos);
  EXPECT_NE(error_of(R"({"down_block_types": ["Weird"], "block_out_channels": [32]})").find("found 'Weird'"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"_class_name": "FluxTransformer2DModel"})").find("FluxTransformer2DModel"), std::string::npos);
  EXPECT_NE(error_of(R"({"block_out_channels": [40], "norm_num_groups": 32})").find("norm_num_groups"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"act_fn": "mish"})").find("act_fn"), std::string::npos);
  EXPECT_NE(error_of(R"({"encoder_hid_dim": 12})").find("encoder_hid_dim"), std::string::npos);
}

TEST(Configs, TextEncoderHeadsMustDivide) {
  EXPECT_THROW(clip_text_config(object(R"({"hidden_size": 30, "num_attention_heads": 4})")), Error);
  EXPECT_THROW(clip_text_config(object(R"({"architectures": ["T5EncoderModel"]})")), Error);
}

TEST(Configs, AutoencoderChecksBlockTypes) {
  EXPECT_EQ(autoencoder_kl_config(object("{}")).downscale(), 1);
  EXPECT_THROW(autoencoder_kl_config(object(R"({"up_block_types": ["Odd"]})")), Error);
  EXPECT_THROW(autoencoder_kl_config(object(R"({"scaling_factor": 0})")), Error);
}

// Writing a configuration and reading it again changes nothing that the model code sees.
TEST(Configs, WrittenAsRead) {
  const auto again = [](const nlohmann::ordered_json& json) {
    return io::JsonObject(nlohmann::json::parse(json.dump()), "again");
  };
  for (const std::string model : {"sd15/a", "sd15/b", "sd15/d", "families/sd2", "families/xl", "families/lcm"}) {
    const std::string folder = EASEL_SOURCE_DIR "/tests/goldens/" + model;
    const auto read = [&](const char* part) { return io::JsonObject::from_file(folder + part + "/config.json"); };
    const auto unet = unet_2d_condition_config(read("/unet"));
    const auto unet_json = unet_2d_condition_json(unet, 8);
    EXPECT_EQ(unet_2d_condition_json(unet_2d_condition_config(again(unet_json)), 8), unet_json);
    EXPECT_EQ(models::unet_2d_condition(unet_2d_condition_config(again(unet_json))).str(),
              models::unet_2d_condition(unet).str());
    const auto vae = autoencoder_kl_config(read("/vae"));
    EXPECT_EQ(models::autoencoder_kl_decoder(autoencoder_kl_config(again(autoencoder_kl_json(vae)))).str(),
              models::autoencoder_kl_decoder(vae).str());
    EXPECT_EQ(autoencoder_kl_config(again(autoencoder_kl_json(vae))).scaling_factor, vae.scaling_factor);
    if (model == "families/xl") {
      const auto ssd = unet_2d_condition_config(
          io::JsonObject::from_file(EASEL_SOURCE_DIR "/tests/goldens/families/ssd/unet/config.json"));
      EXPECT_EQ(models::unet_2d_condition(unet_2d_condition_config(again(unet_2d_condition_json(ssd, 8)))).str(),
                models::unet_2d_condition(ssd).str());
      const auto bigg = clip_text_config(read("/text_encoder_2"));
      EXPECT_EQ(clip_text_config(again(clip_text_json(bigg))).projection_dim, bigg.projection_dim);
      EXPECT_EQ(clip_text_config(again(clip_text_json(bigg))).eos_token_id, 605);
    }
    const auto text = clip_text_config(read("/text_encoder"));
    EXPECT_EQ(models::clip_text_model(clip_text_config(again(clip_text_json(text))), 7).str(),
              models::clip_text_model(text, 7).str());
  }
}

}  // namespace
}  // namespace easel::pipelines
