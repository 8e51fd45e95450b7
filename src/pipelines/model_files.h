// A model on disk, whatever its layout: configurations, weights and tokenizer of every component.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "exec/weight_store.h"
#include "io/weight_files.h"
#include "models/autoencoder_kl.h"
#include "models/clip_text.h"
#include "models/unet_2d_condition.h"

namespace easel::pipelines {

/// Names under which a weight may be stored, best first, for its name in the model code.
using NameCandidates = std::function<std::vector<std::string>(const std::string&)>;

/// The weights of one component in safetensors files.
class FileWeights : public exec::WeightSource {
 public:
  FileWeights(io::WeightFiles files, NameCandidates candidates);
  Tensor load(const std::string& name) const override;
  void release(const std::string& name) const override;
  std::string description() const override { return files_.path(); }
  /// The stored name of a weight; empty if there is none.
  std::string stored_name(const std::string& name) const;
  const io::WeightFiles& files() const { return files_; }

 private:
  io::WeightFiles files_;
  NameCandidates candidates_;
};

struct ModelFiles {
  std::string path, family, layout;  ///< "sd15-unet"-like family; "diffusers folder" or "original checkpoint"
  models::UNet2DConditionConfig unet;
  models::AutoencoderKLConfig vae;
  models::ClipTextConfig text_encoder;
  /// nullptr where a folder of configurations alone was asked for and is all there is.
  std::shared_ptr<const FileWeights> unet_weights, vae_weights, text_encoder_weights;
  nlohmann::json scheduler;  ///< scheduler_config.json
  std::string tokenizer_folder;
  int64_t sample_height = 64, sample_width = 64;  ///< the model's own picture size, in latents
};

/// A diffusers folder. Throws io for missing or malformed parts, unsupported for another pipeline or component class.
/// Without weights_required a component may have no weight files at all.
ModelFiles read_diffusers_folder(const std::string& path, bool weights_required = true);

/// An original single-file checkpoint in .safetensors. It holds no configuration: sizes are read off the tensors, and
/// what cannot be seen there (heads, groups, schedule) is Stable Diffusion 1.x's. Throws io or unsupported.
ModelFiles read_ldm_checkpoint(const std::string& path);

/// Either of the two, by what is at `path`. Throws io for anything else, saying what it is.
ModelFiles read_model(const std::string& path, bool weights_required = true);

/// Names in the original single-file layout, for names in the model code; they depend on the architecture.
NameCandidates ldm_unet_names(const models::UNet2DConditionConfig& config);
NameCandidates ldm_vae_names(const models::AutoencoderKLConfig& config);
NameCandidates ldm_text_names();

}  // namespace easel::pipelines
