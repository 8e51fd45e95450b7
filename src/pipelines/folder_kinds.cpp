// What a folder is that is no whole model.
#include <algorithm>
#include <filesystem>

#include <easel/error.h>

#include "base/fail.h"
#include "io/json_file.h"
#include "pipelines/families.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

// The class that a config.json names: "_class_name" of diffusers, the first of "architectures" of transformers.
std::string class_of(const fs::path& config) {
  const io::JsonObject json = io::JsonObject::from_file(config.string());
  if (json.is_string("_class_name")) return json.string("_class_name");
  if (json.is_array("architectures"))
    if (const std::vector<std::string> classes = json.strings("architectures"); !classes.empty())
      return classes.front();
  return "";
}

// What takes the folder of such a class.
std::string use_of(const std::string& name) {
  if (name == "UNet2DConditionModel") return "; --unet takes it";
  if (name == "AutoencoderKL") return "; --vae takes it";
  if (name == "CLIPTextModel" || name == "CLIPTextModelWithProjection") return "; --text-encoder takes it";
  if (name == "CLIPVisionModelWithProjection" || name == "CLIPVisionModel") return "; --image-encoder takes it";
  if (name.find("ControlNet") != std::string::npos) return "; it steers another model and is none itself";
  return "";
}

bool is_weight_file(const fs::path& path) {
  static constexpr const char* kEndings[] = {".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".bin"};
  return std::ranges::count(kEndings, path.extension().string()) > 0;
}

}  // namespace

std::string describe_folder(const std::string& path) {
  std::error_code error;
  try {
    if (fs::exists(fs::path(path) / "model_index.json", error)) return "a whole model; --model takes it";
    if (const fs::path config = fs::path(path) / "config.json"; fs::exists(config, error))
      if (const std::string name = class_of(config); !name.empty())
        return fmt::format("the folder of one part, {}{}", printable(name, 60), use_of(name));
    std::vector<std::string> files;
    for (fs::directory_iterator entry(path, error), end; !error && entry != end && files.size() < 2;
         entry.increment(error))
      if (is_weight_file(entry->path())) files.push_back(entry->path().string());
    if (files.size() != 1) return "none";
    const Identity identity = identify(io::WeightFiles::open(files.front()));
    return fmt::format("none, only the file {} ({}){}", printable(fs::path(files.front()).filename().string(), 80),
                       identity.summary(), identity.find(Part::denoiser) ? "; --model takes the file itself" : "");
  } catch (const Error&) {
    return "none";  // what is broken inside does not matter yet
  }
}

}  // namespace easel::pipelines
