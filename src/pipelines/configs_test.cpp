#include "pipelines/configs.h"

#include <gtest/gtest.h>

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
  for (const std::string model : {"a", "b", "d"}) {
    const std::string folder = EASEL_SOURCE_DIR "/tests/goldens/sd15/" + model;
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
    const auto text = clip_text_config(read("/text_encoder"));
    EXPECT_EQ(models::clip_text_model(clip_text_config(again(clip_text_json(text))), 7).str(),
              models::clip_text_model(text, 7).str());
  }
}

}  // namespace
}  // namespace easel::pipelines
