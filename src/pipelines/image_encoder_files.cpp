#include "pipelines/image_encoder_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/fail.h"
#include "pipelines/configs.h"
#include "pipelines/families.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

constexpr const char* kClasses[] = {"CLIPVisionModelWithProjection", "CLIPVisionModel", "CLIPModel"};

// What no tensor shows, by the width of the states: heads and activation of the published encoders.
struct Published {
  int64_t hidden_size;
  int heads;
  nn::Activation hidden_act;
};
constexpr Published kPublished[] = {
    {768, 12, nn::Activation::quick_gelu},   // OpenAI's ViT-B
    {1024, 16, nn::Activation::quick_gelu},  // OpenAI's ViT-L
    {1280, 16, nn::Activation::gelu_erf},    // OpenCLIP's ViT-H
    {1408, 16, nn::Activation::gelu_erf},    // ViT-g
    {1664, 16, nn::Activation::gelu_erf},    // ViT-bigG
};

/// Sizes by the names of the model code, wherever they are stored.
class Reader {
 public:
  Reader(const FileWeights& weights, std::string where) : weights_(weights), where_(std::move(where)) {}

  models::ClipVisionConfig config() const {
    models::ClipVisionConfig out;
    out.hidden_size = shape("vision_model.embeddings.class_embedding", 1)[0];
    const Shape patches = shape("vision_model.embeddings.patch_embedding.weight", 4);
    out.num_channels = patches[1];
    out.patch_size = static_cast<int>(patches[2]);
    const int64_t positions = shape("vision_model.embeddings.position_embedding.weight", 2)[0];
    const auto grid = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(positions - 1))));
    if (grid < 1 || grid * grid != positions - 1)
      fail(ErrorCode::shape_mismatch, "{}: expected positions of a square and one more, found {}", where_, positions);
    out.image_size = grid * out.patch_size;
    out.num_hidden_layers = 0;
    while (weights_.stored(fmt::format("vision_model.encoder.layers.{}.mlp.fc1.weight", out.num_hidden_layers)))
      ++out.num_hidden_layers;
    out.intermediate_size = shape("vision_model.encoder.layers.0.mlp.fc1.weight", 2)[0];
    out.projection_dim = weights_.stored("visual_projection.weight") ? shape("visual_projection.weight", 2)[0] : 0;
    const auto known = std::ranges::find(kPublished, out.hidden_size, &Published::hidden_size);
    if (known == std::end(kPublished))
      fail(ErrorCode::unsupported,
           "{}: expected a config.json beside an image encoder of width {}, which is none of the published ones (768, "
           "1024, 1280, 1408, 1664), found none",
           where_, out.hidden_size);
    out.num_attention_heads = known->heads;
    out.hidden_act = known->hidden_act;
    return out;
  }

 private:
  Shape shape(const std::string& name, int rank) const {
    if (!weights_.stored(name)) fail(ErrorCode::io, "{}: tensor '{}' is missing", where_, name);
    const Shape out = weights_.outline(name).shape;
    if (out.rank() != rank)
      fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected rank {}, found {}", where_, name, rank, out.str());
    return out;
  }

  const FileWeights& weights_;
  std::string where_;
};

// transformers has all below "vision_model.", which some files leave out, and the projection beside it.
NameCandidates transformers_vision_names(const std::string& prefix) {
  return [prefix](const std::string& name) {
    std::vector<StoredName> out = {prefix + name};
    constexpr std::string_view kModel = "vision_model.";
    if (name.starts_with(kModel)) out.emplace_back(prefix + name.substr(kModel.size()));
    return out;
  };
}

// The names that the file has.
NameCandidates names_in(const io::WeightFiles& files, const std::string& where) {
  for (const char* prefix : {"", "image_encoder.", "clip.", "model."}) {
    if (files.find(prefix + std::string("vision_model.embeddings.class_embedding")) ||
        files.find(prefix + std::string("embeddings.class_embedding")))
      return transformers_vision_names(prefix);
    if (files.find(prefix + std::string("visual.class_embedding")) &&
        files.find(prefix + std::string("visual.transformer.resblocks.0.mlp.c_fc.weight")))
      return open_clip_vision_names(prefix);
  }
  const Identity identity = identify(files);
  fail(ErrorCode::unsupported, "{}: expected a CLIP image encoder, found: {}{}", where, identity.summary(),
       option_for(identity));
}

std::optional<models::ClipVisionConfig> config_at(const fs::path& path, bool required) {
  std::error_code error;
  if (!required && !fs::exists(path, error)) return std::nullopt;
  const io::JsonObject json = io::JsonObject::from_file(path.string());
  if (!required) {  // it may be of something else that lies in the same folder
    const std::vector<std::string> found =
        json.is_array("architectures") ? json.strings("architectures") : std::vector<std::string>();
    if (std::ranges::none_of(found, [](const std::string& name) { return std::ranges::count(kClasses, name) > 0; }))
      return std::nullopt;
  }
  return clip_vision_config(json);
}

}  // namespace

NameCandidates open_clip_vision_names(const std::string& prefix) {
  const std::string tower = prefix + "visual.";
  return [tower, layers = open_clip_names(tower)](const std::string& name) -> std::vector<StoredName> {
    static const std::pair<std::string_view, std::string_view> kNames[] = {
        {"vision_model.embeddings.class_embedding", "class_embedding"},
        {"vision_model.embeddings.patch_embedding.weight", "conv1.weight"},
        {"vision_model.embeddings.position_embedding.weight", "positional_embedding"},
        {"vision_model.pre_layrnorm.", "ln_pre."},
        {"vision_model.post_layernorm.", "ln_post."}};
    if (name == "visual_projection.weight") return {StoredName(tower + "proj", 0, 1, /*swapped=*/true)};
    for (const auto& [ours, theirs] : kNames)
      if (name.starts_with(ours)) return {tower + std::string(theirs) + name.substr(ours.size())};
    constexpr std::string_view kModel = "vision_model.";
    return layers(name.starts_with(kModel) ? name.substr(kModel.size()) : name);
  };
}

ImageEncoderFiles read_image_encoder(const std::string& path, const std::string& where) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(ErrorCode::io, "{}: expected a file or folder, found nothing", where);
  const bool folder = fs::is_directory(path, error);
  std::optional<models::ClipVisionConfig> config;
  std::optional<io::WeightFiles> files;
  try {
    config = config_at((folder ? fs::path(path) : fs::path(path).parent_path()) / "config.json", folder);
    files = folder ? open_weights(path, {"model", "pytorch_model"}) : io::WeightFiles::open(path);
  } catch (const Error& thrown) {
    const std::string what = thrown.what(), option = where.substr(0, where.find(' '));
    throw Error(thrown.code(), what.starts_with(option) ? what : option + " " + what);
  }
  ImageEncoderFiles out;
  NameCandidates names = names_in(*files, where);
  out.weights = std::make_shared<FileWeights>(*std::move(files), std::move(names));
  out.configured = config.has_value();
  out.config = config ? *config : Reader(*out.weights, where).config();
  return out;
}

}  // namespace easel::pipelines
