// Reading a diffusers folder: model_index.json and one subfolder per component.
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "base/fail.h"
#include "pipelines/configs.h"
#include "pipelines/families.h"
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

// Files of other variants, as bf16 in model.bf16.safetensors, by variant; the best kind of file of each.
std::map<std::string, std::string> other_variants(const std::string& folder, const std::string& stem) {
  std::map<std::string, std::string> out;
  std::error_code error;
  std::set<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) names.insert(entry.path().filename());
  for (const auto& [before, after] : {std::pair<std::string, std::string>(".safetensors.index.", ".json"),
                                      {".", ".safetensors"},
                                      {".bin.index.", ".json"},
                                      {".", ".bin"}})
    for (const std::string& name : names) {
      const size_t ends = stem.size() + before.size() + after.size();
      if (!name.starts_with(stem + before) || !name.ends_with(after) || name.size() <= ends) continue;
      const std::string variant = name.substr(stem.size() + before.size(), name.size() - ends);
      const bool shard = variant.find("-of-") != std::string::npos, index = variant.find(".index") != std::string::npos;
      if (!shard && !index) out.emplace(variant, name);
    }
  return out;
}

}  // namespace

std::optional<io::WeightFiles> open_weights(const std::string& folder, const std::vector<std::string>& stems,
                                            bool required) {
  for (const std::string& stem : stems)
    for (const char* ending : kWeightNames)
      if (const fs::path file = fs::path(folder) / (stem + ending); fs::exists(file))
        return io::WeightFiles::open(file.string());
  for (const std::string& stem : stems) {
    const std::map<std::string, std::string> variants = other_variants(folder, stem);
    if (variants.size() == 1) return io::WeightFiles::open((fs::path(folder) / variants.begin()->second).string());
    if (variants.empty()) continue;
    std::vector<std::string> names;
    for (const auto& [variant, file] : variants) names.push_back(printable(variant, 40));
    fail(ErrorCode::io,
         "{}: expected {}.safetensors, found several variants of it ({}); name a file of one with --unet, "
         "--vae, --text-encoder or --text-encoder-2",
         printable(folder, 400), stem, fmt::join(names, ", "));
  }
  if (!required) return std::nullopt;
  fail(ErrorCode::io, "{}: expected {}.safetensors, found no weights", printable(folder, 400), stems.front());
}

namespace {

// The pipelines whose networks are run here; what their UNets are given decides what they are asked for.
constexpr const char* kPipelines[] = {"StableDiffusionPipeline",          "StableDiffusionImg2ImgPipeline",
                                      "StableDiffusionInpaintPipeline",   "StableDiffusionInstructPix2PixPipeline",
                                      "StableDiffusionXLPipeline",        "StableDiffusionXLImg2ImgPipeline",
                                      "StableDiffusionXLInpaintPipeline", "StableDiffusionXLInstructPix2PixPipeline",
                                      "LatentConsistencyModelPipeline",   "LatentConsistencyModelImg2ImgPipeline"};

std::string checked_pipeline(const io::JsonObject& index) {
  const std::string pipeline = index.string("_class_name");
  for (const char* known : kPipelines)
    if (pipeline == known) return pipeline;
  fail(ErrorCode::unsupported,
       "{}: key '_class_name': expected StableDiffusionPipeline, StableDiffusionXLPipeline or one of their kin, found "
       "'{}'",
       index.where(), printable(pipeline));
}

// Whether model_index.json names a component; [null, null] stands for none.
bool has_component(const io::JsonObject& index, const char* name) {
  if (!index.has(name)) return false;
  const nlohmann::json& entry = index.json().at(name);
  return !(entry.is_array() && entry.size() == 2 && entry[1].is_null());
}

}  // namespace

ModelFiles read_diffusers_folder(const std::string& path, const ComponentPaths& replaced, bool weights_required) {
  const fs::path root = path;
  if (!fs::exists(root / "model_index.json"))
    fail(ErrorCode::io, "{}: expected a diffusers folder with model_index.json, found {}", printable(path, 400),
         describe_folder(path));
  const io::JsonObject index = io::JsonObject::from_file(root / "model_index.json");
  const std::string pipeline = checked_pipeline(index);
  const bool xl = pipeline.starts_with("StableDiffusionXL");

  ModelFiles files;
  files.path = path;
  files.layout = "diffusers folder";
  // A component that is replaced need not be there.
  const auto own = [&](const char* name, std::vector<std::string> classes, const std::string& other) {
    if (!other.empty()) return fs::path(other);
    expect_component(index, name, std::move(classes));
    return component_folder(path, name);
  };
  const auto where = [&](const char* option, const std::string& other) {
    return other.empty() ? printable(path, 400) : fmt::format("{} {}", option, printable(other, 400));
  };
  // What a replaced part of the folder was like says what a file without configuration leaves open.
  const auto like = [&](const char* name, const std::string& other, auto parse) {
    using Config = decltype(parse(index));
    const fs::path config = root / name / "config.json";
    return other.empty() || !fs::exists(config)
               ? std::optional<Config>()
               : std::optional<Config>(parse(io::JsonObject::from_file(config.string())));
  };
  const auto read_text = [&](bool second, const std::string& other, const char* option) {
    const char* name = second ? "text_encoder_2" : "text_encoder";
    const char* tokenizer = second ? "tokenizer_2" : "tokenizer";
    const fs::path folder = own(name, {second ? "CLIPTextModelWithProjection" : "CLIPTextModel"}, other);
    expect_component(index, tokenizer, {"CLIPTokenizer", "CLIPTokenizerFast"});
    TextEncoderFiles encoder = read_text_encoder(folder.string(), where(option, other), second, weights_required,
                                                 like(name, other, clip_text_config));
    encoder.tokenizer_folder = component_folder(path, tokenizer).string();
    files.text_encoders.push_back(std::move(encoder));
  };
  const fs::path unet_path = own("unet", {"UNet2DConditionModel"}, replaced.unet),
                 vae_path = own("vae", {"AutoencoderKL", "AutoencoderTiny"}, replaced.vae),
                 scheduler = component_folder(path, "scheduler");

  const UNetFiles unet = read_unet(unet_path.string(), where("--unet", replaced.unet), weights_required,
                                   like("unet", replaced.unet, unet_2d_condition_config));
  files.unet = unet.config;
  files.unet_weights = unet.weights;
  const fs::path size_config = (fs::is_directory(unet_path) ? unet_path : root / "unet") / "config.json";
  if (fs::exists(size_config)) {
    const io::JsonObject json = io::JsonObject::from_file(size_config.string());
    if (json.has("sample_size")) {  // one number, or height and width
      const std::vector<int64_t> size = json.integer_or_integers("sample_size", 1, 1 << 16);
      if (size.empty() || size.size() > 2) json.fail_key("sample_size", "one number or two");
      files.sample_height = size.front();
      files.sample_width = size.back();
    }
  }
  const VaeFiles vae = read_vae(vae_path.string(), where("--vae", replaced.vae), weights_required,
                                like("vae", replaced.vae, autoencoder_kl_config));
  files.vae = vae.config;
  files.tiny_vae = vae.tiny;
  files.vae_weights = vae.weights;
  if (!xl || has_component(index, "text_encoder")) read_text(false, replaced.text_encoder, "--text-encoder");
  if (xl) read_text(true, replaced.text_encoder_2, "--text-encoder-2");
  files.scheduler = io::JsonObject::from_file((scheduler / "scheduler_config.json").string()).json();
  fit_parts(files, unet.configured);
  files.family = family_of(files.unet);
  files.family_reason =
      fmt::format("model_index.json: {}; unet: {}", pipeline,
                  files.family == Family::sdxl           ? "pooled text and six sizes"
                  : files.family == Family::sdxl_refiner ? "pooled text, four sizes and an aesthetic score"
                  : files.family == Family::sd2          ? "linear projections"
                                                         : "projections by 1x1 convolutions");
  if (xl != is_xl(files.family))
    fail(ErrorCode::unsupported, "{}: key '_class_name': expected a pipeline that fits the UNet ({}), found '{}'",
         index.where(), to_string(files.family), pipeline);
  if (!vae.configured) files.vae.scaling_factor = family_scaling_factor(files.family);
  files.prediction_reason = "scheduler_config.json";
  files.force_zeros_for_empty_prompt = xl && index.boolean_or("force_zeros_for_empty_prompt", true);
  return files;
}

}  // namespace easel::pipelines
