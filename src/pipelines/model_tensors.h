// The tensors of a file or model, under names that are the same in every layout.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

/// Weights that the graphs read, with their shapes, by our names.
std::map<std::string, Shape> weights_of(const std::vector<graph::Graph>& graphs);
std::map<std::string, Shape> unet_weights(const models::UNet2DConditionConfig& config);
std::map<std::string, Shape> vae_weights(const models::AutoencoderKLConfig& config);
std::map<std::string, Shape> text_encoder_weights(const models::ClipTextConfig& config);

/// One tensor of an input.
struct ModelTensor {
  std::string component, name;  ///< "unet", "conv_in.weight"; component empty: not a model's tensor, name as stored
  Shape shape;                  ///< as our graphs have it, for a model's tensor
  io::TensorFile file;
  const io::TensorInfo* info = nullptr;
  StoredName stored;  ///< which part of the stored tensor it is
};

/// A single file or diffusers folder with whatever parts of a Stable Diffusion model it holds; any other file of
/// tensors is taken as it is.
class ModelTensors {
 public:
  /// vae: a file that replaces the VAE. Throws io or unsupported.
  ModelTensors(const std::string& path, const std::string& vae);

  bool folder() const { return folder_; }
  const std::string& path() const { return path_; }
  const std::vector<ModelTensor>& tensors() const { return tensors_; }
  /// nullptr if there is none.
  const ModelTensor* find(const std::string& component, const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  std::optional<models::UNet2DConditionConfig> unet;
  std::optional<models::AutoencoderKLConfig> vae;
  std::map<std::string, models::ClipTextConfig> text_encoders;  ///< by component: "text_encoder", "text_encoder_2"
  Family family = Family::sd1;
  nlohmann::json scheduler;  ///< null where nothing says it
  int64_t sample_size = 64;
  std::set<std::string> replaced;  ///< components that are not the model's own
  bool has_component(const std::string& name) const;
  /// Those that are there, in the order of the tensors.
  const std::vector<std::string>& components() const { return components_; }
  /// Those that a whole model of the family has.
  std::vector<std::string> components_of_family() const;

 private:
  void add(const std::string& component, const std::map<std::string, Shape>& weights, const FileWeights& files);
  void add_text_encoder(const TextEncoderFiles& encoder);
  void add_rest(const io::WeightFiles& files);

  std::string path_;
  bool folder_ = false;
  std::vector<ModelTensor> tensors_;
  std::vector<std::string> components_;
  std::map<std::pair<std::string, std::string>, size_t> by_name_;
  std::set<std::string> taken_;  // stored names
  std::map<std::string, std::string> metadata_;
};

}  // namespace easel::pipelines
