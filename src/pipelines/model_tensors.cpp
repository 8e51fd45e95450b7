#include "pipelines/model_tensors.h"

#include <algorithm>
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

// A TAESD stands in for a model's VAE while it runs; it has no names in the layouts of whole models.
void expect_full_vae(const VaeFiles& vae, const std::string& where) {
  if (vae.tiny)
    fail(ErrorCode::unsupported, "{}: expected an AutoencoderKL, found a TAESD, which is not converted", where);
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
  return weights_of(
      {models::clip_text_model(config, config.max_position_embeddings, {.pooled = config.projection_dim > 0})});
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
    expect_full_vae(*other_vae, "--vae " + printable(vae_path, 400));
    replaced.insert("vae");
  }
  if (folder_) {
    const ModelFiles files = read_diffusers_folder(path, {"", vae_path, "", ""});
    expect_full_vae({{files.vae, files.vae_weights}, files.tiny_vae}, where);
    family = files.family;
    unet = files.unet;
    vae = files.vae;
    scheduler = files.scheduler;
    sample_size = files.sample_height;
    add("unet", unet_weights(*unet), *files.unet_weights);
    add("vae", vae_weights(*vae), *files.vae_weights);
    for (const TextEncoderFiles& encoder : files.text_encoders) add_text_encoder(encoder);
    return;
  }
  const io::WeightFiles weights = io::WeightFiles::open(path);
  for (const io::TensorFile& file : weights.files()) metadata_.insert(file.metadata().begin(), file.metadata().end());
  const Identity identity = identify(weights);
  const bool model = !identity.find(Part::lora) && !identity.find(Part::control_net) && !identity.find(Part::adapter) &&
                     !identity.find(Part::embedding);
  const auto family_in_file = [&](Part part) {
    const Match* match = identity.find(part);
    return model && match ? std::string(match->row->family) : std::string();
  };
  ModelFiles files;  // to fit the parts to each other
  files.path = path;
  const std::string text = family_in_file(Part::text_encoder);
  if (!text.empty() && text != "T5") files.text_encoders = read_text_encoders(weights, where);
  std::optional<UNetFiles> unet_files;
  for (const Family known : {Family::sd1, Family::sd2, Family::sdxl, Family::sdxl_refiner}) {
    if (family_in_file(Part::denoiser) != to_string(known)) continue;
    unet_files = read_unet(path, where);
    files.unet = unet_files->config;
    files.vae.latent_channels = files.unet.out_channels;
    if (is_xl(known) && !files.text_encoders.empty()) fit_parts(files, unet_files->configured);
    family = is_xl(known) && !files.text_encoders.empty() ? family_of(files.unet) : known;
    unet = files.unet;
    add("unet", unet_weights(*unet), *unet_files->weights);
    scheduler = single_file_scheduler(family, identity.prediction_type);
    sample_size = single_file_sample_size(family, identity.prediction_type);
  }
  if (other_vae || family_in_file(Part::vae) == "AutoencoderKL") {
    // The model's own is left out of the rest too.
    const VaeFiles own = family_in_file(Part::vae) == "AutoencoderKL" ? read_vae(path, where) : *other_vae;
    if (other_vae)
      for (const auto& [name, shape] : vae_weights(own.config))
        if (const auto stored = own.weights->stored(name)) taken_.insert(stored->name);
    const VaeFiles& vae_files = other_vae ? *other_vae : own;
    vae = vae_files.config;
    if (unet && !vae_files.configured) vae->scaling_factor = family_scaling_factor(family);
    add("vae", vae_weights(*vae), *vae_files.weights);
  }
  for (const TextEncoderFiles& encoder : files.text_encoders) add_text_encoder(encoder);
  add_rest(weights);
}

void ModelTensors::add_text_encoder(const TextEncoderFiles& encoder) {
  text_encoders[encoder.name] = encoder.config;
  add(encoder.name, text_encoder_weights(encoder.config), *encoder.weights);
}

void ModelTensors::add(const std::string& component, const std::map<std::string, Shape>& weights,
                       const FileWeights& files) {
  components_.push_back(component);
  for (const auto& [name, shape] : weights) {
    const std::optional<StoredName> stored = files.stored(name);
    if (!stored)
      fail(ErrorCode::io, "{}: tensor '{}' of the {} is missing", printable(files.description(), 400), name, component);
    ModelTensor tensor{component, name, shape, files.files().holder(stored->name), nullptr, *stored};
    tensor.info = tensor.file.find(stored->name);
    const Shape found = files.outline(name).shape;
    bool same = true;
    for (int i = 0; i < std::max(shape.rank(), found.rank()); ++i)
      same &= (i < shape.rank() ? shape[i] : 1) == (i < found.rank() ? found[i] : 1);
    if (!same)
      fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected shape {}, found {}",
           printable(files.description(), 400), stored->name, shape.str(), found.str());
    by_name_[{component, name}] = tensors_.size();
    tensors_.push_back(std::move(tensor));
    taken_.insert(stored->name);
  }
}

void ModelTensors::add_rest(const io::WeightFiles& files) {
  for (const std::string& name : files.names()) {
    if (taken_.contains(name)) continue;
    ModelTensor tensor{"", name, files.find(name)->shape, files.holder(name), files.find(name), name};
    by_name_[{"", name}] = tensors_.size();
    tensors_.push_back(std::move(tensor));
  }
}

const ModelTensor* ModelTensors::find(const std::string& component, const std::string& name) const {
  const auto found = by_name_.find({component, name});
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

bool ModelTensors::has_component(const std::string& name) const {
  return std::find(components_.begin(), components_.end(), name) != components_.end();
}

std::vector<std::string> ModelTensors::components_of_family() const {
  switch (family) {
    case Family::sdxl: return {"unet", "vae", "text_encoder", "text_encoder_2"};
    case Family::sdxl_refiner: return {"unet", "vae", "text_encoder_2"};
    default: return {"unet", "vae", "text_encoder"};
  }
}

}  // namespace easel::pipelines
