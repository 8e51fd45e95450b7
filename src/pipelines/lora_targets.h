// The layers of a model under all the names that LoRA files call them by.
#pragma once

#include <map>
#include <string>

#include "models/unet_2d_condition.h"
#include "pipelines/lora_file.h"

namespace easel::pipelines {

/// A layer that an adapter may change.
struct LoraTarget {
  std::string component;  ///< "unet", "text_encoder", "text_encoder_2"
  std::string module;     ///< its weights in our names, without ".weight" and ".bias"
  Shape shape;            ///< of the weight, as our graphs have it
  int64_t bias = 0;       ///< elements of the bias; 0: none
};

/// Names of one model's layers. In every naming they are ours (diffusers' and transformers') or those of the original
/// checkpoints, changed by rule:
///   kohya      lora_unet_…, lora_te_text_model_…, lora_te1_…, lora_te2_…; dots are underscores. SDXL's UNet in
///              original names: lora_unet_input_blocks_4_1_…; lycoris_… likewise
///   diffusers  unet.…, text_encoder.text_model.…, text_encoder_2.…; early ones without unet., with to_out for
///              to_out.0 and to_q for q_proj
///   peft       ours, as they are
///   original   diffusion_model.…; text_encoders.clip_l.transformer.text_model.… as ComfyUI writes them
class LoraTargets {
 public:
  /// weights: name → shape, as weights_of() gives them.
  void add_unet(const std::map<std::string, Shape>& weights, const models::UNet2DConditionConfig& config);
  /// number: 1, or 2 for the second text encoder.
  void add_text_encoder(const std::map<std::string, Shape>& weights, int number = 1);

  /// nullptr if the model has no such layer.
  const LoraTarget* find(const std::string& module) const;

 private:
  const LoraTarget& target(const std::string& component, const std::string& module, const Shape& shape,
                           const std::map<std::string, Shape>& weights);
  void name(const std::string& name, const LoraTarget& target) { by_name_.emplace(name, &target); }

  std::map<std::pair<std::string, std::string>, LoraTarget> targets_;
  std::map<std::string, const LoraTarget*> by_name_;  // the first meaning of a name counts
};

}  // namespace easel::pipelines
