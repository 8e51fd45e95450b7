// A model on disk, whatever its layout: configurations, weights and tokenizer of every component.
#pragma once

#include <functional>
#include <map>
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

/// Where a weight stands in a file: a tensor, one of `of` equal parts of its first axis, or its transpose.
struct StoredName {
  // NOLINTNEXTLINE(google-explicit-constructor): a name alone is the commonest place
  StoredName(std::string stored, int which = 0, int parts = 1, bool swapped = false)
      : name(std::move(stored)), part(which), of(parts), transposed(swapped) {}
  std::string name;
  int part = 0, of = 1;
  bool transposed = false;  ///< of a matrix
};

/// Where a weight may be stored, best first, for its name in the model code.
using NameCandidates = std::function<std::vector<StoredName>(const std::string&)>;

/// The weights of one component in its files.
class FileWeights : public exec::WeightSource {
 public:
  /// Throws unsupported for files whose weights have scales of their own.
  FileWeights(io::WeightFiles files, NameCandidates candidates);
  Tensor load(const std::string& name) const override;
  Outline outline(const std::string& name) const override;
  Tensor blocks(const std::string& name) const override;
  void release(const std::string& name) const override;
  std::string description() const override { return files_.path(); }
  /// Where a weight is stored; nothing if it is not there.
  std::optional<StoredName> stored(const std::string& name) const;
  const io::WeightFiles& files() const { return files_; }

 private:
  StoredName find(const std::string& name) const;
  io::WeightFiles files_;
  NameCandidates candidates_;
};

/// A component: what it is made of and where its weights are.
template <typename Config>
struct ComponentFiles {
  Config config;
  std::shared_ptr<const FileWeights> weights;
  /// From a config.json. If not, what no tensor shows (scaling of latents, heads) is what its family has.
  bool configured = false;
};
using UNetFiles = ComponentFiles<models::UNet2DConditionConfig>;
/// `tiny` where it is a TAESD; `config` then says of it what the rest of a pipeline must know (channels, levels,
/// scale).
struct VaeFiles : ComponentFiles<models::AutoencoderKLConfig> {
  std::optional<models::AutoencoderTinyConfig> tiny;
};
struct TextEncoderFiles : ComponentFiles<models::ClipTextConfig> {
  std::string name = "text_encoder";  ///< as in diffusers folders: "text_encoder" or "text_encoder_2"
  std::string tokenizer_folder;       ///< the model's own; empty: none
  /// The token that pads whatever the tokenizer says, and is special in prompts; empty: what the tokenizer says.
  /// OpenCLIP pads with id 0, which is "!" in CLIP's vocabulary.
  std::string pad_token;
};

/// One component from a file of any container, in original or diffusers names, alone or in a whole checkpoint; or from
/// a folder with config.json and weights. In diffusers names the config.json beside the file holds, where there is one;
/// otherwise sizes are read off the tensors, and what cannot be seen there (heads, groups) is that of the family.
/// Without weights_required a folder may hold its configuration alone. `like`: the configuration of the part that is
/// replaced; it holds for a file without one whose tensors are all as it has them. Throws io or unsupported, beginning
/// with `where` ("--vae x.safetensors").
UNetFiles read_unet(const std::string& path, const std::string& where, bool weights_required = true,
                    const std::optional<models::UNet2DConditionConfig>& like = std::nullopt);
VaeFiles read_vae(const std::string& path, const std::string& where, bool weights_required = true,
                  const std::optional<models::AutoencoderKLConfig>& like = std::nullopt);
/// `second`: for the place of SDXL's text_encoder_2, which is OpenCLIP-bigG; a file of both gives the one of that
/// place.
TextEncoderFiles read_text_encoder(const std::string& path, const std::string& where, bool second = false,
                                   bool weights_required = true,
                                   const std::optional<models::ClipTextConfig>& like = std::nullopt);
/// The encoder of a TAESD, from a file of its own, too, as the original program has it. The decoder comes by
/// read_vae().
ComponentFiles<models::AutoencoderTinyConfig> read_tiny_encoder(const std::string& path, const std::string& where);
/// A TAESD, if `path` is one: a folder of diffusers or of the original program, or a file with the decoder.
std::optional<VaeFiles> read_tiny_vae(const std::string& path, const std::string& where, bool weights_required = true);
/// The same from an open file.
UNetFiles read_unet(const io::WeightFiles& files, const std::string& where);
VaeFiles read_vae(const io::WeightFiles& files, const std::string& where);
/// Throws unsupported for the UNet or transformer of a family that is not run.
void expect_unet_family(const io::WeightFiles& files, const std::string& where);
/// All text encoders of a whole checkpoint, in the order in which the UNet is given their states.
std::vector<TextEncoderFiles> read_text_encoders(const io::WeightFiles& files, const std::string& where);

/// Files that replace components of a model; empty: the model's own.
struct ComponentPaths {
  std::string unet, vae, text_encoder, text_encoder_2;
};

/// Which networks a model is made of.
enum class Family { sd1, sd2, sdxl, sdxl_refiner };
/// "Stable Diffusion 1.x" …, as the table of families has it.
const char* to_string(Family family) noexcept;
inline bool is_xl(Family family) { return family == Family::sdxl || family == Family::sdxl_refiner; }
/// By what the UNet is given beside the text, and by the form of its projections; its time_ids have to be known.
Family family_of(const models::UNet2DConditionConfig& unet);
/// What the UNet takes beside the noisy latents: nothing, a mask and a masked picture, or a picture.
enum class UNetInput { latents, inpainting, instruct_pix2pix };
UNetInput unet_input(int64_t in_channels, int64_t latent_channels);

struct ModelFiles {
  std::string path, layout;  ///< layout: "diffusers folder" or "single file, safetensors"
  Family family = Family::sd1;
  std::string family_reason;  ///< what it was recognised by
  models::UNet2DConditionConfig unet;
  models::AutoencoderKLConfig vae;
  std::optional<models::AutoencoderTinyConfig> tiny_vae;  ///< what the VAE is, where it is a TAESD
  /// One, or SDXL's two, in the order in which their states stand side by side in the UNet's text input.
  std::vector<TextEncoderFiles> text_encoders;
  /// nullptr where a folder of configurations alone was asked for and is all there is.
  std::shared_ptr<const FileWeights> unet_weights, vae_weights;
  nlohmann::json scheduler;                       ///< scheduler_config.json
  std::string prediction_reason;                  ///< what says the scheduler's prediction_type
  bool force_zeros_for_empty_prompt = false;      ///< SDXL: no negative prompt means zeros, not the encoded ""
  int64_t sample_height = 64, sample_width = 64;  ///< the model's own picture size, in latents

  /// "Stable Diffusion 1.x, inpainting": the family, and what its UNet's input channels make of it.
  std::string family_name() const;
};

/// The graph of the VAE's decoder, whichever it is.
graph::Graph vae_decoder_graph(const ModelFiles& files);

/// A diffusers folder. Throws io for missing or malformed parts, unsupported for another pipeline or component class.
/// Without weights_required a component may have no weight files at all.
ModelFiles read_diffusers_folder(const std::string& path, const ComponentPaths& replaced = {},
                                 bool weights_required = true);

/// A single-file checkpoint of any container. It holds no configuration: see read_unet() and the others; the scheduler
/// is that of the family. Throws io or unsupported, also for files of other families, mixed ones, adapters, and
/// files without a component that `replaced` does not give either, naming the option that supplies it.
ModelFiles read_single_file(const std::string& path, const ComponentPaths& replaced = {});

/// The family's published scheduler_config.json and latent size of pictures, which single files do not hold.
nlohmann::json single_file_scheduler(Family family, const std::string& prediction_type);
int64_t single_file_sample_size(Family family, const std::string& prediction_type);
/// What the family scales latents by.
double family_scaling_factor(Family family);

/// Checks that the parts go together: widths of the texts and the UNet's input, pooled text, latent channels. What the
/// UNet's configuration leaves open (without one, the width of sizes too) follows from the text encoders. Throws
/// shape_mismatch or unsupported.
void fit_parts(ModelFiles& files, bool unet_configured);

/// Either of the two, by what is at `path`. Throws io where nothing is there.
ModelFiles read_model(const std::string& path, const ComponentPaths& replaced = {}, bool weights_required = true);

/// The weights of a component folder: shards, safetensors before .bin, fp16 or the only variant there is where there is
/// nothing else; several are refused.
/// Nothing where there are none and they are not required.
std::optional<io::WeightFiles> open_weights(const std::string& folder, const std::vector<std::string>& stems,
                                            bool required = true);

inline constexpr const char* kLdmUNet = "model.diffusion_model.";
inline constexpr const char* kLdmVae = "first_stage_model.";

/// Names in the original layout, for names in the model code; they depend on the architecture.
NameCandidates ldm_unet_names(const models::UNet2DConditionConfig& config, const std::string& prefix = kLdmUNet);
NameCandidates ldm_vae_names(const models::AutoencoderKLConfig& config, const std::string& prefix = kLdmVae);
/// Our names, which are diffusers' and transformers', after a prefix.
NameCandidates prefixed_names(const std::string& prefix);
/// A TAESD's names in diffusers, in the original program, alone or (with `encoder`) as its other half, and in ComfyUI.
NameCandidates tiny_vae_names();
/// OpenCLIP's names, in which queries, keys and values are one matrix and the projection is transposed.
NameCandidates open_clip_names(const std::string& prefix);
/// Those of a family's text encoder in the original layout; part: "text_encoder" or "text_encoder_2".
NameCandidates ldm_text_names(Family family, const std::string& part);
/// Early diffusers saved the autoencoder's attention under other names.
NameCandidates diffusers_vae_names(const std::string& prefix = "");

/// A tensor of a new file, made of weights of ours: of one, of its transpose, or of several one after the other.
struct TensorLayout {
  std::string name;
  Shape shape;
  std::vector<std::string> weights;
  bool transposed = false;
};
/// How weights of these shapes are stored under the first of their names, in the order of the names. Throws internal if
/// parts are missing.
std::vector<TensorLayout> layouts_of(const std::map<std::string, Shape>& weights, const NameCandidates& names);

}  // namespace easel::pipelines
