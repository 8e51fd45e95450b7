#include "pipelines/model_folder.h"

#include <easel/version.h>

#include <filesystem>

#include "base/fail.h"
#include "io/atomic_file.h"
#include "io/json_file.h"
#include "pipelines/config_json.h"
#include "pipelines/tokenizer_files.h"

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

namespace {

// A tokenizer with "!" as padding, as OpenCLIP's encoders have it, whatever the copied one says.
void pad_with_exclamation_mark(const fs::path& folder) {
  std::error_code error;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const fs::path path = folder / name;
    const bool there = fs::exists(path, error);
    if (!there && name != std::string_view("tokenizer_config.json")) continue;
    Json json = Json::object();
    if (there) json = Json::parse(io::JsonObject::from_file(path.string()).json().dump());
    json["pad_token"] = "!";
    fs::remove(path, error);
    write_json(path, json);
  }
}

const char* pipeline_class(const ModelTensors& model) {
  const UNetInput input = unet_input(model.unet->in_channels, model.vae->latent_channels);
  const bool xl = is_xl(model.family);
  switch (input) {
    case UNetInput::inpainting: return xl ? "StableDiffusionXLInpaintPipeline" : "StableDiffusionInpaintPipeline";
    case UNetInput::instruct_pix2pix:
      return xl ? "StableDiffusionXLInstructPix2PixPipeline" : "StableDiffusionInstructPix2PixPipeline";
    case UNetInput::latents: break;
  }
  if (model.family == Family::sdxl_refiner) return "StableDiffusionXLImg2ImgPipeline";
  return xl ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline";
}

Json model_index(const ModelTensors& model) {
  Json index = {
      {"_class_name", pipeline_class(model)},          {"_easel_version", EASEL_VERSION},
      {"feature_extractor", {nullptr, nullptr}},       {"scheduler", {"diffusers", model.scheduler.at("_class_name")}},
      {"unet", {"diffusers", "UNet2DConditionModel"}}, {"vae", {"diffusers", "AutoencoderKL"}}};
  const auto text = [&](const char* component, const char* tokenizer, const char* network) {
    const bool there = model.text_encoders.contains(component);
    index[component] = there ? Json{"transformers", network} : Json{nullptr, nullptr};
    index[tokenizer] = there ? Json{"transformers", "CLIPTokenizer"} : Json{nullptr, nullptr};
  };
  text("text_encoder", "tokenizer", "CLIPTextModel");
  if (!is_xl(model.family)) {
    index["safety_checker"] = {nullptr, nullptr};
    index["requires_safety_checker"] = false;
    return index;
  }
  text("text_encoder_2", "tokenizer_2", "CLIPTextModelWithProjection");
  index["force_zeros_for_empty_prompt"] = model.family == Family::sdxl;
  if (model.family == Family::sdxl_refiner) index["requires_aesthetics_score"] = true;
  return index;
}

}  // namespace

void write_descriptions(const ModelTensors& model, const std::string& given_tokenizer, const std::string& to) {
  const fs::path out = to, from = model.path();
  for (const auto& [component, config] : model.text_encoders) {
    const bool second = component == "text_encoder_2";
    const char* name = second ? "tokenizer_2" : "tokenizer";
    const bool own = model.folder() && fs::is_directory(from / name);
    std::string tokenizer = given_tokenizer;
    if (tokenizer.empty() && !model.folder()) tokenizer = find_tokenizer(model.path(), component);
    if (tokenizer.empty() && !own)
      fail(ErrorCode::invalid_argument,
           "--tokenizer: expected a folder with vocab.json and merges.txt for the new model; a single file holds none, "
           "and there is no folder named tokenizer beside it");
    // One vocabulary serves both encoders; a folder that has its own keeps it for the second.
    const bool given = !tokenizer.empty() && !(second && own);
    copy_descriptions(given ? tokenizer : (from / name).string(), (out / name).string());
    if (given && (second || model.family == Family::sd2)) pad_with_exclamation_mark(out / name);
  }
  const auto describe = [&](const std::string& component, const Json& json) {
    if (model.folder() && !model.replaced.contains(component))
      copy_descriptions((from / component).string(), (out / component).string());
    else
      write_json(out / component / "config.json", json);
  };
  describe("unet", unet_2d_condition_json(*model.unet, model.sample_size));
  describe("vae", autoencoder_kl_json(*model.vae));
  for (const auto& [component, config] : model.text_encoders) describe(component, clip_text_json(config));
  if (model.folder()) {
    copy_descriptions((from / "scheduler").string(), (out / "scheduler").string());
    copy_descriptions(from.string(), out.string());
    return;
  }
  write_json(out / "scheduler" / "scheduler_config.json", model.scheduler);
  write_json(out / "model_index.json", model_index(model));
}

}  // namespace easel::pipelines
