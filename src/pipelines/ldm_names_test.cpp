// The names of every tensor of the real Stable Diffusion 1.5, from a table made by converting the original.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "io/sha256.h"
#include "io/test_folder.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text.h"
#include "models/unet_2d_condition.h"
#include "pipelines/model_files.h"
#include "pipelines/model_tensors.h"

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

// ---- Stable Diffusion 2 and SDXL ----------------------------------------------------------------------------------

const std::string kSource = EASEL_SOURCE_DIR "/";

struct Layouts {
  ModelFiles files;
  std::map<std::string, std::vector<TensorLayout>> parts;  // of the original file
};
Layouts layouts_in(const std::string& folder) {
  Layouts out{read_diffusers_folder(kSource + folder, {}, false), {}};
  out.parts["unet"] = layouts_of(unet_weights(out.files.unet), ldm_unet_names(out.files.unet));
  out.parts["vae"] = layouts_of(vae_weights(out.files.vae), ldm_vae_names(out.files.vae));
  for (const TextEncoderFiles& encoder : out.files.text_encoders)
    out.parts[encoder.name] =
        layouts_of(text_encoder_weights(encoder.config), ldm_text_names(out.files.family, encoder.name));
  return out;
}

// The list that the table has the hash of.
std::string list_of(const std::vector<TensorLayout>& layouts) {
  std::set<std::string> lines;
  for (const TensorLayout& layout : layouts) {
    std::string shape;
    for (const int64_t dim : layout.shape) shape += (shape.empty() ? "" : "x") + std::to_string(dim);
    std::string weights;
    for (const std::string& weight : layout.weights) weights += (weights.empty() ? "" : "+") + weight;
    lines.insert(layout.name + "\t" + shape + "\t" + weights + "\n");
  }
  std::string out;
  for (const std::string& line : lines) out += line;
  return out;
}

TEST(LdmNames, OfTheRealStableDiffusion2AndXl) {
  std::ifstream table(EASEL_SOURCE_DIR "/tests/goldens/families/original_names.tsv");
  int rows = 0;
  std::map<std::string, Layouts> models;
  for (std::string line; std::getline(table, line);) {
    if (line.starts_with('#')) continue;
    std::istringstream cells(line);
    std::string model, part, count, hash;
    std::getline(cells, model, '\t');
    std::getline(cells, part, '\t');
    std::getline(cells, count, '\t');
    std::getline(cells, hash, '\t');
    if (!models.contains(model)) models.emplace(model, layouts_in(model));
    const io::TestFolder folder;
    const std::string list = list_of(models.at(model).parts.at(part));
    std::ofstream(folder / "list") << list;
    EXPECT_EQ(std::to_string(std::ranges::count(list, '\n')), count) << model << " " << part;
    EXPECT_EQ(io::sha256_of_file(folder / "list"), hash) << model << " " << part;
    ++rows;
  }
  EXPECT_EQ(rows, 2 * (3 + 4 + 3));
}

// A single file of the full size that has its head only: where the values would be is a hole.
std::string sparse_file(const io::TestFolder& folder, const Layouts& model) {
  nlohmann::ordered_json head;
  int64_t bytes = 0;
  for (const auto& [part, layouts] : model.parts)
    for (const TensorLayout& layout : layouts) {
      const int64_t end = bytes + layout.shape.numel();
      head[layout.name] = {{"dtype", "F8_E4M3"},
                           {"shape", std::vector<int64_t>(layout.shape.begin(), layout.shape.end())},
                           {"data_offsets", {bytes, end}}};
      bytes = end;
    }
  const std::string text = head.dump(), path = folder / "model.safetensors";
  const uint64_t length = text.size();
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(&length), 8) << text;
  std::filesystem::resize_file(path, 8 + length + static_cast<uint64_t>(bytes));
  return path;
}

// What the original file does not say is filled in as the published models have it.
TEST(SingleFile, FullSizeModelsAreReadAsTheirConfigurationsSay) {
  for (const char* name : {"sd15", "sd21", "sdxl", "sdxl_refiner"}) {
    const Layouts model = layouts_in(std::string("bench/configs/") + name);
    const io::TestFolder folder;
    const ModelFiles found = read_single_file(sparse_file(folder, model));
    EXPECT_EQ(found.family, model.files.family) << name;
    EXPECT_EQ(models::unet_2d_condition(found.unet).str(), models::unet_2d_condition(model.files.unet).str()) << name;
    EXPECT_EQ(models::autoencoder_kl_decoder(found.vae).str(), models::autoencoder_kl_decoder(model.files.vae).str());
    EXPECT_EQ(found.vae.scaling_factor, model.files.vae.scaling_factor) << name;
    ASSERT_EQ(found.text_encoders.size(), model.files.text_encoders.size()) << name;
    for (size_t i = 0; i < found.text_encoders.size(); ++i) {
      const TextEncoderFiles &a = found.text_encoders[i], &b = model.files.text_encoders[i];
      EXPECT_EQ(a.name, b.name);
      const bool pooled = b.config.projection_dim > 0;
      EXPECT_EQ(models::clip_text_model(a.config, 77, {.pooled = pooled}).str(),
                models::clip_text_model(b.config, 77, {.pooled = pooled}).str())
          << name;
    }
    EXPECT_EQ(found.scheduler.value("prediction_type", "epsilon"),
              model.files.scheduler.value("prediction_type", "epsilon"));
    EXPECT_EQ(found.scheduler["_class_name"], model.files.scheduler["_class_name"]) << name;
    EXPECT_EQ(found.sample_height, model.files.sample_height) << name;
    EXPECT_EQ(found.force_zeros_for_empty_prompt, model.files.force_zeros_for_empty_prompt) << name;
  }
}

}  // namespace
}  // namespace easel::pipelines
