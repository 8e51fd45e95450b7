// A model on disk, whatever its layout: configurations, weights and tokenizer of every component.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "exec/weight_store.h"
#include "io/weight_files.h"
#include "models/autoencoder_kl.h"
#include "models/autoencoder_tiny.h"
#include "models/clip_text.h"
#include "models/unet_2d_condition.h"

namespace easel::pipelines {

/// Names under which a weight may be stored, best first, for its name in the model code.
using NameCandidates = std::function<std::vector<std::string>(const std::string&)>;

/// The weights of one component in its files.
class FileWeights : public exec::WeightSource {
 public:
  FileWeights(io::WeightFiles files, NameCandidates candidates);
  Tensor load(const std::string& name) const override;
  Outline outline(const std::string& name) const override;
  void release(const std::string& name) const override;
  std::string description() const override { return files_.path(); }
  /// The stored name of a weight; empty if there is none.
  std::string stored_name(const std::string& name) const;
  const io::WeightFiles& files() const { return files_; }

 private:
  const io::TensorInfo& find(const std::string& name) const;
  io::WeightFiles files_;
  NameCandidates candidates_;
};

/// A component: what it is made of and where its weights are.
template <typename Config>
struct ComponentFiles {
  Config config;
  std::shared_ptr<const FileWeights> weights;
};
using UNetFiles = ComponentFiles<models::UNet2DConditionConfig>;
/// `tiny` where it is a TAESD; `config` then says of it what the rest of a pipeline must know (channels, levels,
/// scale).
struct VaeFiles : ComponentFiles<models::AutoencoderKLConfig> {
  std::optional<models::AutoencoderTinyConfig> tiny;
};
using TextEncoderFiles = ComponentFiles<models::ClipTextConfig>;

/// One component from a file of any container, in original or diffusers names, alone or in a whole checkpoint; or from
/// a folder with config.json and weights. In diffusers names the config.json beside the file holds, where there is one;
/// otherwise sizes are read off the tensors, and what cannot be seen there (heads, groups) is Stable Diffusion 1.x's.
/// Without weights_required a folder may hold its configuration alone. Throws io or unsupported, beginning with `where`
/// ("--vae x.safetensors").
UNetFiles read_unet(const std::string& path, const std::string& where, bool weights_required = true);
VaeFiles read_vae(const std::string& path, const std::string& where, bool weights_required = true);
TextEncoderFiles read_text_encoder(const std::string& path, const std::string& where, bool weights_required = true);
/// The encoder of a TAESD, from a file of its own, too, as the original program has it. The decoder comes by
/// read_vae().
ComponentFiles<models::AutoencoderTinyConfig> read_tiny_encoder(const std::string& path, const std::string& where);
/// A TAESD, if `path` is one: a folder of diffusers or of the original program, or a file with the decoder.
std::optional<VaeFiles> read_tiny_vae(const std::string& path, const std::string& where, bool weights_required = true);
/// The same from an open file.
UNetFiles read_unet(const io::WeightFiles& files, const std::string& where);
VaeFiles read_vae(const io::WeightFiles& files, const std::string& where);
TextEncoderFiles read_text_encoder(const io::WeightFiles& files, const std::string& where);

/// Files that replace components of a model; empty: the model's own.
struct ComponentPaths {
  std::string unet, vae, text_encoder;
};

struct ModelFiles {
  std::string path, family, layout;  ///< "Stable Diffusion 1.x"; "diffusers folder" or "original checkpoint"
  models::UNet2DConditionConfig unet;
  models::AutoencoderKLConfig vae;
  std::optional<models::AutoencoderTinyConfig> tiny_vae;  ///< what the VAE is, where it is a TAESD
  models::ClipTextConfig text_encoder;
  /// nullptr where a folder of configurations alone was asked for and is all there is.
  std::shared_ptr<const FileWeights> unet_weights, vae_weights, text_encoder_weights;
  nlohmann::json scheduler;  ///< scheduler_config.json
  std::string tokenizer_folder;
  int64_t sample_height = 64, sample_width = 64;  ///< the model's own picture size, in latents
};

/// The graph of the VAE's decoder, whichever it is.
graph::Graph vae_decoder_graph(const ModelFiles& files);

/// A diffusers folder. Throws io for missing or malformed parts, unsupported for another pipeline or component class.
/// Without weights_required a component may have no weight files at all.
ModelFiles read_diffusers_folder(const std::string& path, const ComponentPaths& replaced = {},
                                 bool weights_required = true);

/// A single-file checkpoint of any container. It holds no configuration: see read_unet() and the others; the scheduler
/// is Stable Diffusion 1.x's. Throws io or unsupported, also for files of other families, mixed ones, adapters, and
/// files without a component that `replaced` does not give either, naming the option that supplies it.
ModelFiles read_single_file(const std::string& path, const ComponentPaths& replaced = {});

/// Stable Diffusion 1.x's scheduler_config.json, which single files do not hold.
nlohmann::json single_file_scheduler(const std::string& prediction_type);

/// Either of the two, by what is at `path`. Throws io where nothing is there.
ModelFiles read_model(const std::string& path, const ComponentPaths& replaced = {}, bool weights_required = true);

/// The weights of a component folder: shards, safetensors before .bin, fp16 variants where there is nothing else.
/// Nothing where there are none and they are not required.
std::optional<io::WeightFiles> open_weights(const std::string& folder, const std::vector<std::string>& stems,
                                            bool required = true);

inline constexpr const char* kLdmUNet = "model.diffusion_model.";
inline constexpr const char* kLdmVae = "first_stage_model.";
inline constexpr const char* kLdmText = "cond_stage_model.transformer.text_model.";

/// Names in the original layout, for names in the model code; they depend on the architecture.
NameCandidates ldm_unet_names(const models::UNet2DConditionConfig& config, const std::string& prefix = kLdmUNet);
NameCandidates ldm_vae_names(const models::AutoencoderKLConfig& config, const std::string& prefix = kLdmVae);
/// Our names, which are diffusers' and transformers', after a prefix. Those of the original text encoder are such too.
NameCandidates prefixed_names(const std::string& prefix);
inline NameCandidates ldm_text_names() { return prefixed_names(kLdmText); }
/// A TAESD's names in diffusers, in the original program, alone or (with `encoder`) as its other half, and in ComfyUI.
NameCandidates tiny_vae_names();
/// Early diffusers saved the autoencoder's attention under other names.
NameCandidates diffusers_vae_names(const std::string& prefix = "");

}  // namespace easel::pipelines
