#include "cli/picture_metadata.h"

#include <easel/version.h>

#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "cli/options.h"
#include "io/json_file.h"

namespace easel::cli {

namespace {

// One list of fields for both directions.
template <typename Metadata, typename Visit>
void each_field(Metadata& m, Visit&& visit) {
  visit("model", m.model);
  visit("model_path", m.model_path);
  visit("prompt", m.prompt);
  visit("negative_prompt", m.negative_prompt);
  visit("prompt_2", m.prompt_2);
  visit("negative_prompt_2", m.negative_prompt_2);
  visit("prompt_style", m.prompt_style);
  visit("clip_skip", m.clip_skip);
  visit("embeddings", m.embeddings);
  visit("loras", m.loras);
  visit("lora_dirs", m.lora_dirs);
  visit("lora_mode", m.lora_mode);
  visit("lora_hashes", m.lora_hashes);
  visit("steps", m.steps);
  visit("sampler", m.sampler);
  visit("scheduler", m.scheduler);
  visit("scheduler_class", m.scheduler_class);
  visit("guidance_scale", m.guidance_scale);
  visit("eta", m.eta);
  SamplingArguments::each(visit, m.sampling);
  AddedArguments::each(visit, m.added);
  PictureArguments::each(visit, m.pictures);
  IpAdapterArguments::each(visit, m.ip_adapters);
  visit("init_image_sha256", m.init_image_sha256);
  visit("mask_sha256", m.mask_sha256);
  visit("seed", m.seed);
  visit("width", m.width);
  visit("height", m.height);
  visit("num_images_per_prompt", m.num_images_per_prompt);
  visit("index", m.index);
  visit("unet_dtype", m.unet_dtype);
  visit("vae_dtype", m.vae_dtype);
  visit("text_encoder_dtype", m.text_encoder_dtype);
  visit("tokenizer", m.tokenizer);
  visit("tokenizer_2", m.tokenizer_2);
  visit("unet_file", m.unet_file);
  visit("vae_file", m.vae_file);
  visit("text_encoder_file", m.text_encoder_file);
  visit("text_encoder_2_file", m.text_encoder_2_file);
  visit("prediction_type", m.prediction_type);
  visit("refiner", m.refiner);
  visit("refiner_start", m.refiner_start);
  visit("noisy_latents", m.noisy_latents);
  visit("initial_latents", m.initial_latents);
}

struct Reader {
  const io::JsonObject& object;
  void operator()(const char* key, std::optional<std::string>& out) const {
    if (!object.has(key)) return;
    out = object.string(key);
    check_utf8(object.where() + ", " + key, *out);
  }
  void operator()(const char* key, std::optional<std::vector<std::string>>& out) const {
    if (object.has(key)) out = object.strings(key);
  }
  void operator()(const char* key, std::vector<std::string>& out) const {
    if (object.has(key)) out = object.strings(key);
  }
  void operator()(const char* key, std::optional<int64_t>& out) const {
    if (object.has(key)) out = object.integer(key, std::string_view(key) == "mask_grow" ? -1000 : 0, INT32_MAX);
  }
  void operator()(const char* key, std::optional<bool>& out) const {
    if (object.has(key)) out = object.boolean(key);
  }
  void operator()(const char* key, std::optional<double>& out) const {
    if (object.has(key)) out = object.number(key);
  }
  void operator()(const char* key, std::optional<uint64_t>& out) const {
    if (!object.has(key)) return;
    const nlohmann::json& value = object.json()[key];
    if (!value.is_number_unsigned()) object.fail_key(key, "a whole number");
    out = value.get<uint64_t>();
  }
};

}  // namespace

io::PngText to_png_text(const PictureMetadata& metadata) {
  nlohmann::ordered_json json = {{"version", EASEL_VERSION}};
  each_field(metadata, [&](const char* key, const auto& value) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, std::vector<std::string>>) {
      if (!value.empty()) json[key] = value;
    } else if (value) {
      json[key] = *value;
    }
  });
  return {{"parameters", to_a1111(metadata)}, {"easel", json.dump()}};
}

PictureMetadata from_png_text(const io::PngText& text, const std::string& where) {
  const std::string* parameters = nullptr;
  for (const auto& [keyword, value] : text) {
    if (keyword == "parameters" && !parameters) parameters = &value;
    if (keyword != "easel") continue;
    const std::string place = where + ", chunk easel";
    const io::JsonObject object(io::parse_json(value, place), place);
    PictureMetadata out;
    each_field(out, Reader{object});
    if (!out.prompt) object.fail_key("prompt", "a text");
    return out;
  }
  if (!parameters)
    fail(ErrorCode::io, "{}: expected a text chunk \"easel\" or \"parameters\", found {}", where,
         text.empty() ? "none" : "others");
  return from_a1111(*parameters, where + ", chunk parameters");
}

}  // namespace easel::cli
