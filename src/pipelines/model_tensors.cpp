#include "pipelines/model_tensors.h"

#include <filesystem>

#include "base/fail.h"
#include "pipelines/families.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

void collect(const graph::Constant& constant, std::map<std::string, Shape>& out) {
  if (constant.kind() == graph::Constant::Kind::weight) out.emplace(constant.weight_name(), constant.shape());
  for (const graph::ConstantPtr& operand : constant.operands()) collect(*operand, out);
}

}  // namespace

std::map<std::string, Shape> weights_of(const std::vector<graph::Graph>& graphs) {
  std::map<std::string, Shape> out;
  for (const graph::Graph& graph : graphs)
    for (const graph::Value& value : graph.values())
      if (value.constant) collect(*value.constant, out);
  return out;
}

std::map<std::string, Shape> unet_weights(const models::UNet2DConditionConfig& config) {
  return weights_of({models::unet_2d_condition(config)});
}
std::map<std::string, Shape> vae_weights(const models::AutoencoderKLConfig& config) {
  return weights_of({models::autoencoder_kl_encoder(config), models::autoencoder_kl_decoder(config)});
}
std::map<std::string, Shape> text_encoder_weights(const models::ClipTextConfig& config) {
  return weights_of({models::clip_text_model(config, config.max_position_embeddings)});
}

ModelTensors::ModelTensors(const std::string& path, const std::string& vae_path) : path_(path) {
  std::error_code error;
  if (!fs::exists(path, error))
    fail(ErrorCode::io, "{}: expected a file or folder, found nothing", printable(path, 400));
  folder_ = fs::is_directory(path, error);
  const std::string where = printable(path, 400);
  std::optional<VaeFiles> other_vae;
  if (!vae_path.empty()) {
    other_vae = read_vae(vae_path, "--vae " + printable(vae_path, 400));
    replaced.insert("vae");
  }
  if (folder_) {
    const ModelFiles files = read_diffusers_folder(path, {"", vae_path, ""});
    family = files.family;
    unet = files.unet;
    vae = files.vae;
    text_encoder = files.text_encoder;
    scheduler = files.scheduler;
    sample_size = files.sample_height;
    add("unet", unet_weights(*unet), *files.unet_weights);
    add("vae", vae_weights(*vae), *files.vae_weights);
    add("text_encoder", text_encoder_weights(*text_encoder), *files.text_encoder_weights);
    return;
  }
  const io::WeightFiles weights = io::WeightFiles::open(path);
  for (const io::TensorFile& file : weights.files()) metadata_.insert(file.metadata().begin(), file.metadata().end());
  const Identity identity = identify(weights);
  const bool model = !identity.find(Part::lora) && !identity.find(Part::control_net) && !identity.find(Part::adapter) &&
                     !identity.find(Part::embedding);
  const auto family_of = [&](Part part) {
    const Match* match = identity.find(part);
    return model && match ? std::string(match->row->family) : std::string();
  };
  family = family_of(Part::denoiser);
  if (family_of(Part::denoiser) == "Stable Diffusion 1.x") {
    const UNetFiles files = read_unet(path, where);
    unet = files.config;
    add("unet", unet_weights(*unet), *files.weights);
    scheduler = single_file_scheduler(identity.prediction_type);
  }
  if (other_vae || family_of(Part::vae) == "AutoencoderKL") {
    // The model's own is left out of the rest too.
    const VaeFiles own = family_of(Part::vae) == "AutoencoderKL" ? read_vae(path, where) : *other_vae;
    if (other_vae)
      for (const auto& [name, shape] : vae_weights(own.config)) taken_.insert(own.weights->stored_name(name));
    const VaeFiles& files = other_vae ? *other_vae : own;
    vae = files.config;
    add("vae", vae_weights(*vae), *files.weights);
  }
  if (const Match* match = identity.find(Part::text_encoder);
      model && match && std::string(match->row->layout) == "transformers" && std::string(match->row->family) != "T5") {
    const TextEncoderFiles files = read_text_encoder(path, where);
    text_encoder = files.config;
    add("text_encoder", text_encoder_weights(*text_encoder), *files.weights);
  }
  add_rest(weights);
}

void ModelTensors::add(const std::string& component, const std::map<std::string, Shape>& weights,
                       const FileWeights& files) {
  for (const auto& [name, shape] : weights) {
    const std::string stored = files.stored_name(name);
    if (stored.empty())
      fail(ErrorCode::io, "{}: tensor '{}' of the {} is missing", printable(files.description(), 400), name, component);
    ModelTensor tensor{component, name, shape, files.files().holder(stored), nullptr};
    tensor.info = tensor.file.find(stored);
    bool same = true;
    for (int i = 0; i < std::max(shape.rank(), tensor.info->shape.rank()); ++i)
      same &= (i < shape.rank() ? shape[i] : 1) == (i < tensor.info->shape.rank() ? tensor.info->shape[i] : 1);
    if (!same)
      fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected shape {}, found {}",
           printable(files.description(), 400), stored, shape.str(), tensor.info->shape.str());
    by_name_[{component, name}] = tensors_.size();
    tensors_.push_back(std::move(tensor));
    taken_.insert(stored);
  }
}

void ModelTensors::add_rest(const io::WeightFiles& files) {
  for (const std::string& name : files.names()) {
    if (taken_.contains(name)) continue;
    ModelTensor tensor{"", name, files.find(name)->shape, files.holder(name), files.find(name)};
    by_name_[{"", name}] = tensors_.size();
    tensors_.push_back(std::move(tensor));
  }
}

const ModelTensor* ModelTensors::find(const std::string& component, const std::string& name) const {
  const auto found = by_name_.find({component, name});
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

bool ModelTensors::has_component(const std::string& name) const {
  return name == "unet" ? unet.has_value() : name == "vae" ? vae.has_value() : text_encoder.has_value();
}

}  // namespace easel::pipelines
