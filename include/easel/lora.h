// Adapters: small files that change what a model draws.
#pragma once

#include <string>
#include <vector>

namespace easel {

/// One adapter of the LoRA family (LoRA, LoCon, LoHa, LoKr, DoRA) and how strongly it acts; see docs/LORA.md.
/// What it adds to a weight is multiplied by unet_weight in the UNet and by text_weight in the text encoders; 0 leaves
/// them as they are.
struct Lora {
  std::string path;  ///< a file, or a folder as peft and diffusers save it
  double unet_weight = 1, text_weight = 1;
  bool operator==(const Lora&) const = default;
};

/// How adapters act. merge: their values are added to the weights, which costs nothing when the model runs. runtime: in
/// the UNet they run beside its layers, which costs a little at every step, and changing them packs no weight of the
/// model again; what has no such form (LoHa, LoKr, DoRA, text encoders) is merged. Pictures differ by roundings.
enum class LoraMode { merge, runtime };

}  // namespace easel
