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

}  // namespace easel
