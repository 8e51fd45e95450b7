// TAESD from files: in diffusers' names, or in those of the original program. The latter numbers the layers of one
// torch Sequential per half; its decoder begins with a clamp, which counts, so that its numbers are one higher.
#include <filesystem>

#include "base/fail.h"
#include "pipelines/configs.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

namespace fs = std::filesystem;
using models::AutoencoderTinyConfig;

namespace {

constexpr int kMostLayers = 256;

std::vector<StoredName> candidates(const std::string& name) {
  std::vector<StoredName> out = {name};
  for (const auto& [half, shift] : {std::pair{std::string("decoder"), 1}, {std::string("encoder"), 0}}) {
    const std::string start = half + ".layers.";
    if (!name.starts_with(start)) continue;
    const size_t dot = name.find('.', start.size());
    const std::string rest =
        std::to_string(std::stoi(name.substr(start.size(), dot - start.size())) + shift) + name.substr(dot);
    for (const std::string& prefix : {"taesd_" + half + ".", half + ".", std::string()})
      out.emplace_back(prefix + rest);
  }
  return out;
}

/// What stands in a file under the names of one half.
class Half {
 public:
  Half(const io::WeightFiles& files, const char* half, std::string where)
      : files_(files), half_(half), where_(std::move(where)) {}

  bool present() const { return convolution(0) && (block(1) || block(2)); }
  int64_t dim(int layer, int axis) const {
    const Shape* shape = find(layer, "weight");
    if (!shape || shape->rank() != 4)
      fail(ErrorCode::io, "{}: expected a convolution as layer {} of a TAESD's {}, found {}", where_, layer, half_,
           shape ? shape->str() : "none");
    return (*shape)[axis];
  }
  /// The numbers of blocks on each level; `layer`, where the first begin, becomes the last convolution.
  std::vector<int> decoder_levels(int& layer) const {
    std::vector<int> counts = {0};
    for (; layer < kMostLayers; ++layer) {
      if (block(layer)) {
        ++counts.back();
      } else if (!convolution(layer) && convolution(layer + 1)) {  // an upsampling and its convolution
        counts.push_back(0);
        ++layer;
      } else {
        break;
      }
    }
    return counts;
  }
  std::vector<int> encoder_levels(int& layer) const {
    std::vector<int> counts = {0};
    for (; layer < kMostLayers; ++layer) {
      if (block(layer))
        ++counts.back();
      else if (convolution(layer) && (block(layer + 1) || convolution(layer + 1)))
        counts.push_back(0);
      else
        break;
    }
    return counts;
  }

 private:
  const Shape* find(int layer, const char* weight) const {
    for (const StoredName& stored : candidates(fmt::format("{}.layers.{}.{}", half_, layer, weight)))
      if (const io::TensorInfo* info = files_.find(stored.name)) return &info->shape;
    return nullptr;
  }
  bool convolution(int layer) const { return find(layer, "weight") != nullptr; }
  bool block(int layer) const { return find(layer, "conv.0.weight") != nullptr; }

  const io::WeightFiles& files_;
  std::string half_, where_;
};

/// Sizes of the halves that the file has; the other keeps its defaults.
AutoencoderTinyConfig config_of(const io::WeightFiles& files, const std::string& where) {
  AutoencoderTinyConfig config;
  if (const Half encoder(files, "encoder", where); encoder.present()) {
    config.in_channels = encoder.dim(0, 1);
    config.encoder_channels = encoder.dim(0, 0);
    int layer = 1;
    config.num_encoder_blocks = encoder.encoder_levels(layer);
    config.latent_channels = encoder.dim(layer, 0);
  }
  if (const Half decoder(files, "decoder", where); decoder.present()) {
    config.latent_channels = decoder.dim(0, 1);
    config.decoder_channels = decoder.dim(0, 0);
    int layer = 2;
    config.num_decoder_blocks = decoder.decoder_levels(layer);
    config.out_channels = decoder.dim(layer, 0);
  }
  return config;
}

/// The file of a half that lies in a folder without config.json, under the name that the original program gives it.
std::optional<std::string> half_in(const std::string& folder, const char* half) {
  std::error_code error;
  for (const char* model : {"taesd", "taesdxl", "taesd3", "taef1"})
    for (const char* extension : {".safetensors", ".pth"})
      if (const fs::path file = fs::path(folder) / fmt::format("{}_{}{}", model, half, extension);
          fs::exists(file, error))
        return file.string();
  return std::nullopt;
}

struct Opened {
  std::optional<AutoencoderTinyConfig> config;
  std::optional<io::WeightFiles> weights;
};

bool is_tiny(const io::JsonObject& json) {
  return json.is_string("_class_name") && json.string("_class_name") == "AutoencoderTiny";
}

// A folder of diffusers or of the original program, or a file, with its config.json where that is its own.
std::optional<Opened> open_tiny(const std::string& path, const char* half, bool weights_required) {
  std::error_code error;
  const bool folder = fs::is_directory(path, error);
  const fs::path config = (folder ? fs::path(path) : fs::path(path).parent_path()) / "config.json";
  if (fs::exists(config, error)) {
    const io::JsonObject json = io::JsonObject::from_file(config.string());
    if (is_tiny(json))
      return Opened{
          autoencoder_tiny_config(json),
          folder ? open_weights(path, {"diffusion_pytorch_model"}, weights_required) : io::WeightFiles::open(path)};
    if (folder) return std::nullopt;
  }
  if (!folder) return Opened{std::nullopt, io::WeightFiles::open(path)};
  if (const auto file = half_in(path, half)) return Opened{std::nullopt, io::WeightFiles::open(*file)};
  return std::nullopt;
}

}  // namespace

NameCandidates tiny_vae_names() { return candidates; }

std::optional<VaeFiles> read_tiny_vae(const std::string& path, const std::string& where, bool weights_required) {
  const std::optional<Opened> opened = open_tiny(path, "decoder", weights_required);
  if (!opened) return std::nullopt;
  VaeFiles out;
  if (opened->weights) {
    const bool decoder = Half(*opened->weights, "decoder", where).present();
    if (!decoder && !opened->config && !Half(*opened->weights, "encoder", where).present()) return std::nullopt;
    if (!decoder) fail(ErrorCode::unsupported, "{}: expected a TAESD's decoder, found its encoder alone", where);
    out.weights = std::make_shared<const FileWeights>(*opened->weights, tiny_vae_names());
  }
  out.tiny = opened->config ? *opened->config : config_of(*opened->weights, where);
  const AutoencoderTinyConfig& tiny = *out.tiny;
  out.configured = true;  // its latents have a scale of their own, whatever the family's VAE has
  out.config.in_channels = tiny.in_channels;
  out.config.out_channels = tiny.out_channels;
  out.config.latent_channels = tiny.latent_channels;
  out.config.block_out_channels.assign(tiny.num_decoder_blocks.size(), tiny.decoder_channels);
  out.config.scaling_factor = tiny.scaling_factor;
  out.config.shift_factor = tiny.shift_factor;
  return out;
}

ComponentFiles<AutoencoderTinyConfig> read_tiny_encoder(const std::string& path, const std::string& where) {
  const std::optional<Opened> opened = open_tiny(path, "encoder", true);
  if (!opened || !Half(*opened->weights, "encoder", where).present())
    fail(ErrorCode::unsupported, "{}: expected a TAESD's encoder, found none", where);
  return {opened->config ? *opened->config : config_of(*opened->weights, where),
          std::make_shared<const FileWeights>(*opened->weights, tiny_vae_names())};
}

graph::Graph vae_decoder_graph(const ModelFiles& files) {
  return files.tiny_vae ? models::autoencoder_tiny_decoder(*files.tiny_vae) : models::autoencoder_kl_decoder(files.vae);
}

}  // namespace easel::pipelines
