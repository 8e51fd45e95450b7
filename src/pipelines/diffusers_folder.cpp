// Reading a diffusers folder: model_index.json and one subfolder per component.
#include <filesystem>
#include <optional>

#include "base/fail.h"
#include "pipelines/configs.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

// model_index.json: {"unet": ["diffusers", "UNet2DConditionModel"], …}
void expect_component(const io::JsonObject& index, const std::string& name, std::vector<std::string> classes) {
  if (!index.has(name)) fail(ErrorCode::io, "{}: component '{}' is missing", index.where(), name);
  const nlohmann::json& entry = index.json().at(name);
  if (!entry.is_array() || entry.size() != 2 || !entry[1].is_string())
    index.fail_key(name, fmt::format("[library, {}]", classes.front()));
  const std::string found = entry[1];
  for (const std::string& wanted : classes)
    if (found == wanted) return;
  fail(ErrorCode::unsupported, "{}: component '{}': expected {}, found '{}'", index.where(), name,
       fmt::join(classes, " or "), printable(found));
}

// Nothing where there are no weights and `required` is false.
std::optional<io::WeightFiles> open_weights(const fs::path& folder, std::initializer_list<const char*> stems,
                                            bool required) {
  for (const char* stem : stems)
    for (const char* variant : {"", ".fp16"})
      for (const char* suffix : {".safetensors.index.json", ".safetensors"}) {
        // A sharded variant is named model.safetensors.index.fp16.json.
        const std::string name = *variant && std::string(suffix).ends_with("json")
                                     ? std::string(stem) + ".safetensors.index" + variant + ".json"
                                     : std::string(stem) + variant + suffix;
        if (fs::exists(folder / name)) return io::WeightFiles::open(folder / name);
      }
  for (const auto& item : fs::directory_iterator(folder))
    if (item.path().extension() == ".bin")
      fail(ErrorCode::unsupported, "{}: .bin files are not read yet; expected {}.safetensors",
           printable(item.path().string()), *stems.begin());
  if (!required) return std::nullopt;
  fail(ErrorCode::io, "{}: expected {}.safetensors, found no weights", printable(folder.string()), *stems.begin());
}

void replace(std::string& text, std::string_view from, std::string_view to) {
  if (const size_t at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
}

// Early diffusers saved the autoencoder's attention under other names.
std::vector<std::string> vae_names(const std::string& name) {
  std::string old = name;
  replace(old, ".to_q.", ".query.");
  replace(old, ".to_k.", ".key.");
  replace(old, ".to_v.", ".value.");
  replace(old, ".to_out.0.", ".proj_attn.");
  return {name, old};
}

fs::path component_folder(const std::string& path, const char* name) {
  const fs::path folder = fs::path(path) / name;
  if (!fs::is_directory(folder)) fail(ErrorCode::io, "{}: component folder '{}' is missing", printable(path), name);
  return folder;
}

}  // namespace

ModelFiles read_diffusers_folder(const std::string& path, bool weights_required) {
  const fs::path root = path;
  if (!fs::exists(root / "model_index.json"))
    fail(ErrorCode::io, "{}: expected a diffusers folder with model_index.json, found none", printable(path));
  const io::JsonObject index = io::JsonObject::from_file(root / "model_index.json");
  const std::string pipeline = index.string("_class_name");
  if (pipeline != "StableDiffusionPipeline")
    fail(ErrorCode::unsupported, "{}: key '_class_name': expected StableDiffusionPipeline, found '{}'", index.where(),
         printable(pipeline));
  expect_component(index, "unet", {"UNet2DConditionModel"});
  expect_component(index, "vae", {"AutoencoderKL"});
  expect_component(index, "text_encoder", {"CLIPTextModel"});
  expect_component(index, "tokenizer", {"CLIPTokenizer", "CLIPTokenizerFast"});

  ModelFiles files;
  files.path = path;
  files.layout = "diffusers folder";
  files.family = "Stable Diffusion 1.x";
  const fs::path unet = component_folder(path, "unet"), vae = component_folder(path, "vae"),
                 text = component_folder(path, "text_encoder"), scheduler = component_folder(path, "scheduler");
  files.tokenizer_folder = component_folder(path, "tokenizer");

  const io::JsonObject unet_json = io::JsonObject::from_file(unet / "config.json");
  files.unet = unet_2d_condition_config(unet_json);
  if (unet_json.has("sample_size")) {  // one number, or height and width
    const std::vector<int64_t> size = unet_json.integer_or_integers("sample_size", 1, 1 << 16);
    if (size.empty() || size.size() > 2) unet_json.fail_key("sample_size", "one number or two");
    files.sample_height = size.front();
    files.sample_width = size.back();
  }
  files.vae = autoencoder_kl_config(io::JsonObject::from_file(vae / "config.json"));
  files.text_encoder = clip_text_config(io::JsonObject::from_file(text / "config.json"));
  files.scheduler = io::JsonObject::from_file(scheduler / "scheduler_config.json").json();

  const auto weights = [&](const fs::path& folder, const char* stem, NameCandidates names) {
    std::optional<io::WeightFiles> found = open_weights(folder, {stem}, weights_required);
    return found ? std::make_shared<const FileWeights>(*std::move(found), std::move(names)) : nullptr;
  };
  files.unet_weights =
      weights(unet, "diffusion_pytorch_model", [](const std::string& name) { return std::vector{name}; });
  files.vae_weights = weights(vae, "diffusion_pytorch_model", vae_names);
  files.text_encoder_weights = weights(text, "model", [](const std::string& name) {
    return std::vector{name, "text_model." + name};
  });
  return files;
}

}  // namespace easel::pipelines
