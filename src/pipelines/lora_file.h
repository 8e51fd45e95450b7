// Adapters of the LoRA family as files: which layers they change, and by what.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <easel/tensor.h>

#include "io/weight_files.h"

namespace easel::pipelines {

/// What a file holds for one layer. ΔW has the shape of the layer's weight W, [O, I] or [O, I, kh, kw]:
///   lora   ΔW = s · up · down;  up [O, r], down [r, I·kh·kw]; Hu et al. 2021. With mid [r, r, kh, kw] (LoCon, CP
///          decomposition) down is [r, I] and ΔW[o,i,h,w] = s · Σ up[o,a] mid[a,b,h,w] down[b,i]
///   loha   ΔW = s · (w1_a · w1_b) ∘ (w2_a · w2_b); with t1, t2 each factor is a CP decomposition as above, with
///          w1_a [r, O]; Hyeon-Woo et al. 2022, "FedPara", as LyCORIS has it
///   lokr   ΔW = s · w1 ⊗ w2, each whole or a product w1_a · w1_b, w2 also with t2; Edalati et al. 2022, "KronA"
///   full   ΔW = diff
/// s = alpha / r (alpha / √r where the adapter's configuration says rslora); without alpha 1.
/// With `magnitude` (DoRA, Liu et al. 2024): W + ΔW is then scaled to these norms.
struct LoraLayer {
  enum class Kind { lora, loha, lokr, full };
  std::string key;     ///< as in the file, without the end that names the tensor: "lora_unet_conv_in"
  std::string module;  ///< the same without what wrappers add: for looking the layer up
  Kind kind = Kind::lora;
  /// By role: up, down, mid, bias; w1, w1_a, w1_b, w2, w2_a, w2_b, t1, t2; diff; diff_b (of the layer's bias);
  /// magnitude. Values as stored, in memory of the file.
  std::map<std::string, Tensor> tensors;
  int64_t rank = 0;                 ///< 0 for full, and for lokr of two whole factors
  std::optional<double> alpha;      ///< as given, in the file or its configuration
  double scale = 1;                 ///< s
  bool magnitude_by_input = false;  ///< the norms are those of input channels (LyCORIS) rather than of output channels

  bool dora() const { return tensors.contains("magnitude"); }
  const Tensor* find(const std::string& role) const;
};

const char* to_string(LoraLayer::Kind kind) noexcept;

/// One file of adapters, memory-mapped. Immutable.
class LoraFile {
 public:
  /// path: a file of any container in the names of kohya, LyCORIS, diffusers (also early ones), peft or the original
  /// model; or a folder with adapter_model or pytorch_lora_weights. An adapter_config.json beside counts, as does what
  /// diffusers writes into the file's metadata. Throws io for unreadable files, tensors without their partner, ranks
  /// that differ and values that are not finite, naming the tensor; unsupported for kinds that are not read (OFT, …)
  /// and files that are something else, saying what.
  static std::shared_ptr<const LoraFile> open(const std::string& path);

  const std::string& path() const noexcept { return path_; }  ///< of the file itself
  const std::vector<LoraLayer>& layers() const noexcept { return layers_; }
  /// Tensors that belong to no kind of layer.
  const std::vector<std::string>& other_tensors() const noexcept { return other_; }
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  /// "kohya", "diffusers", "peft" or "original": whose names these are.
  const std::string& naming() const noexcept { return naming_; }

  /// The family of models that it is for, as in the table of families, and why; empty where nothing tells.
  struct Family {
    std::string name, reason;
  };
  Family family() const;

 private:
  std::string path_, naming_;
  std::vector<LoraLayer> layers_;
  std::vector<std::string> other_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace easel::pipelines
