#include "pipelines/model_folder.h"

#include <easel/version.h>

#include <filesystem>

#include "base/fail.h"
#include "io/atomic_file.h"
#include "pipelines/config_json.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;

void copy_descriptions(const std::string& from, const std::string& to) {
  std::error_code error;
  fs::create_directories(to, error);
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    const std::string extension = entry.path().extension();
    if (!entry.is_regular_file() || (extension != ".json" && extension != ".txt")) continue;
    // The list of shards of other weights.
    if (entry.path().filename().string().find(".index.") != std::string::npos) continue;
    fs::copy_file(entry.path(), fs::path(to) / entry.path().filename(), error);
    if (error) break;
  }
  if (error) fail(ErrorCode::io, "copying {} to {}: {}", printable(from, 400), printable(to, 400), error.message());
}

namespace {

void write_json(const fs::path& path, const Json& json) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  io::AtomicFile file(path.string());
  file.write(json.dump(2) + "\n");
  file.commit();
}

}  // namespace

void write_descriptions(const ModelTensors& model, const std::string& tokenizer, const std::string& to) {
  const fs::path out = to, from = model.path();
  const bool own_tokenizer = model.folder() && fs::is_directory(from / "tokenizer");
  if (tokenizer.empty() && !own_tokenizer)
    fail(ErrorCode::invalid_argument,
         "--tokenizer: expected a folder with vocab.json and merges.txt for the new model; a single file holds none");
  copy_descriptions(tokenizer.empty() ? (from / "tokenizer").string() : tokenizer, (out / "tokenizer").string());
  const auto describe = [&](const char* component, const Json& json) {
    if (model.folder() && !model.replaced.contains(component))
      copy_descriptions((from / component).string(), (out / component).string());
    else
      write_json(out / component / "config.json", json);
  };
  describe("unet", unet_2d_condition_json(*model.unet, model.sample_size));
  describe("vae", autoencoder_kl_json(*model.vae));
  describe("text_encoder", clip_text_json(*model.text_encoder));
  if (model.folder()) {
    copy_descriptions((from / "scheduler").string(), (out / "scheduler").string());
    copy_descriptions(from.string(), out.string());
    return;
  }
  write_json(out / "scheduler" / "scheduler_config.json", model.scheduler);
  write_json(out / "model_index.json", {{"_class_name", "StableDiffusionPipeline"},
                                        {"_easel_version", EASEL_VERSION},
                                        {"feature_extractor", {nullptr, nullptr}},
                                        {"requires_safety_checker", false},
                                        {"safety_checker", {nullptr, nullptr}},
                                        {"scheduler", {"diffusers", model.scheduler.at("_class_name")}},
                                        {"text_encoder", {"transformers", "CLIPTextModel"}},
                                        {"tokenizer", {"transformers", "CLIPTokenizer"}},
                                        {"unet", {"diffusers", "UNet2DConditionModel"}},
                                        {"vae", {"diffusers", "AutoencoderKL"}}});
}

}  // namespace easel::pipelines
