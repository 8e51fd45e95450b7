// The names of every tensor of the real Stable Diffusion 1.5, from a table made by converting the original.
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "models/autoencoder_kl.h"
#include "models/clip_text.h"
#include "models/unet_2d_condition.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {
namespace {

// component → diffusers name → original name
std::map<std::string, std::map<std::string, std::string>> table() {
  std::map<std::string, std::map<std::string, std::string>> out;
  std::ifstream file(EASEL_SOURCE_DIR "/tests/goldens/sd15/sd15_names.tsv");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream cells(line);
    std::string original, component, diffusers;
    std::getline(cells, original, '\t');
    std::getline(cells, component, '\t');
    std::getline(cells, diffusers, '\t');
    out[component][diffusers] = original;
  }
  return out;
}

void expect_names(const graph::Graph& graph, const NameCandidates& names,
                  const std::map<std::string, std::string>& expected, std::set<std::string>& used) {
  for (const graph::Value& value : graph.values()) {
    if (!value.constant || value.constant->kind() != graph::Constant::Kind::weight) continue;
    std::string name = value.constant->weight_name();
    auto found = expected.find(name);
    if (found == expected.end()) found = expected.find("text_model." + name);
    ASSERT_NE(found, expected.end()) << name;
    EXPECT_EQ(names(name).front().name, found->second) << name;
    used.insert(found->first);
  }
}

TEST(LdmNames, CoverTheRealUNet) {
  const auto rows = table().at("unet");
  models::UNet2DConditionConfig config;
  for (const int64_t channels : {320, 640, 1280, 1280}) {
    config.levels.push_back({.channels = channels});
    config.levels.back().set_attention(config.levels.size() < 4 ? 1 : 0);
  }
  std::set<std::string> used;
  expect_names(models::unet_2d_condition(config), ldm_unet_names(config), rows, used);
  EXPECT_EQ(used.size(), rows.size());
}

TEST(LdmNames, CoverTheRealAutoencoder) {
  const auto rows = table().at("vae");
  std::set<std::string> used;
  expect_names(models::autoencoder_kl_encoder({}), ldm_vae_names({}), rows, used);
  expect_names(models::autoencoder_kl_decoder({}), ldm_vae_names({}), rows, used);
  EXPECT_EQ(used.size(), rows.size());
}

TEST(LdmNames, CoverTheRealTextEncoder) {
  const auto rows = table().at("text_encoder");
  std::set<std::string> used;
  expect_names(models::clip_text_model({}, 77), ldm_text_names(Family::sd1, "text_encoder"), rows, used);
  // position_ids is a table of numbers, no weight.
  EXPECT_GE(used.size() + 1, rows.size());
}

}  // namespace
}  // namespace easel::pipelines
