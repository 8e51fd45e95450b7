// IP-Adapters on disk: what kind a file is, its sizes, the model it was made for, and its matrices.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "exec/weight_store.h"
#include "io/weight_files.h"
#include "models/ip_adapter.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

/// A file in the published layout, .safetensors or .bin: image_proj.… makes tokens, ip_adapter.N.to_k_ip.weight and
/// to_v_ip.weight (N = 1, 3, 5, …) are the matrices of the UNet's cross-attentions.
class IpAdapterFile {
 public:
  /// Throws io for missing tensors, shape_mismatch for those that do not go together, unsupported for another file and
  /// for the FaceID kinds, saying what these need; all begin with the path.
  static std::shared_ptr<const IpAdapterFile> open(const std::string& path);

  const std::string& path() const { return files_.path(); }
  const models::IpAdapterConfig& config() const { return config_; }
  /// "IP-Adapter plus, 16 tokens a picture"
  std::string kind() const;
  size_t layers() const { return channels_.size(); }
  /// The family by the features that its matrices read ("Stable Diffusion XL"); empty where that tells none.
  std::string family() const;
  /// The weights of ip_adapter_tokens().
  std::shared_ptr<const FileWeights> weights() const { return weights_; }

  /// Throws unsupported for a UNet that the matrices do not fit, naming both sides.
  void check(const models::UNet2DConditionConfig& unet, const std::string& family) const;
  /// Puts the matrices into a slot of the UNet (see ip_adapter_key_weight()). key: stands for the file's content.
  void add_to(exec::Replacements& replacements, size_t slot, const std::vector<models::CrossAttentionLayer>& layers,
              const std::string& key) const;
  /// The matrices are packed: their pages of the file may go.
  void release_pages() const;

 private:
  io::WeightFiles files_;
  std::shared_ptr<const FileWeights> weights_;
  models::IpAdapterConfig config_;
  std::vector<int64_t> channels_;  // of each layer
};

}  // namespace easel::pipelines
