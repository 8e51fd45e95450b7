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

fs::path component_folder(const std::string& path, const char* name) {
  const fs::path folder = fs::path(path) / name;
  if (!fs::is_directory(folder)) fail(ErrorCode::io, "{}: component folder '{}' is missing", printable(path), name);
  return folder;
}

// Tried in this order; a sharded variant is named model.safetensors.index.fp16.json.
constexpr const char* kWeightNames[] = {".safetensors.index.json", ".safetensors",    ".safetensors.index.fp16.json",
                                        ".fp16.safetensors",       ".bin.index.json", ".bin",
                                        ".bin.index.fp16.json",    ".fp16.bin"};

}  // namespace

std::optional<io::WeightFiles> open_weights(const std::string& folder, const std::vector<std::string>& stems,
                                            bool required) {
  for (const std::string& stem : stems)
    for (const char* ending : kWeightNames)
      if (const fs::path file = fs::path(folder) / (stem + ending); fs::exists(file))
        return io::WeightFiles::open(file.string());
  if (!required) return std::nullopt;
  fail(ErrorCode::io, "{}: expected {}.safetensors, found no weights", printable(folder, 400), stems.front());
}

ModelFiles read_diffusers_folder(const std::string& path, const ComponentPaths& replaced, bool weights_required) {
  const fs::path root = path;
  if (!fs::exists(root / "model_index.json"))
    fail(ErrorCode::io, "{}: expected a diffusers folder with model_index.json, found none", printable(path));
  const io::JsonObject index = io::JsonObject::from_file(root / "model_index.json");
  const std::string pipeline = index.string("_class_name");
  if (pipeline != "StableDiffusionPipeline")
    fail(ErrorCode::unsupported, "{}: key '_class_name': expected StableDiffusionPipeline, found '{}'", index.where(),
         printable(pipeline));
  expect_component(index, "tokenizer", {"CLIPTokenizer", "CLIPTokenizerFast"});

  ModelFiles files;
  files.path = path;
  files.layout = "diffusers folder";
  files.family = "Stable Diffusion 1.x";
  // A component that is replaced need not be there.
  const auto own = [&](const char* name, std::vector<std::string> classes, const std::string& other) {
    if (!other.empty()) return fs::path(other);
    expect_component(index, name, std::move(classes));
    return component_folder(path, name);
  };
  const auto where = [&](const char* option, const std::string& other) {
    return other.empty() ? printable(path, 400) : fmt::format("{} {}", option, printable(other, 400));
  };
  const fs::path unet_path = own("unet", {"UNet2DConditionModel"}, replaced.unet),
                 vae_path = own("vae", {"AutoencoderKL", "AutoencoderTiny"}, replaced.vae),
                 text_path = own("text_encoder", {"CLIPTextModel"}, replaced.text_encoder),
                 scheduler = component_folder(path, "scheduler");
  files.tokenizer_folder = component_folder(path, "tokenizer").string();

  const UNetFiles unet = read_unet(unet_path.string(), where("--unet", replaced.unet), weights_required);
  files.unet = unet.config;
  files.unet_weights = unet.weights;
  if (fs::exists(unet_path / "config.json")) {
    const io::JsonObject json = io::JsonObject::from_file((unet_path / "config.json").string());
    if (json.has("sample_size")) {  // one number, or height and width
      const std::vector<int64_t> size = json.integer_or_integers("sample_size", 1, 1 << 16);
      if (size.empty() || size.size() > 2) json.fail_key("sample_size", "one number or two");
      files.sample_height = size.front();
      files.sample_width = size.back();
    }
  }
  const VaeFiles vae = read_vae(vae_path.string(), where("--vae", replaced.vae), weights_required);
  files.vae = vae.config;
  files.tiny_vae = vae.tiny;
  files.vae_weights = vae.weights;
  const TextEncoderFiles text =
      read_text_encoder(text_path.string(), where("--text-encoder", replaced.text_encoder), weights_required);
  files.text_encoder = text.config;
  files.text_encoder_weights = text.weights;
  files.scheduler = io::JsonObject::from_file((scheduler / "scheduler_config.json").string()).json();
  return files;
}

}  // namespace easel::pipelines
