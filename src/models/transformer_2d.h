// The spatial transformer of the UNet: pixels attend to each other and to the text.
#pragma once

#include <functional>
#include <string>

#include "models/ip_adapter.h"
#include "nn/layers.h"

namespace easel::models {

struct Transformer2DConfig {
  int heads = 8;
  int layers = 1;
  int groups = 32;
  bool use_linear_projection = false;
  bool only_cross_attention = false;  ///< the first attention of a block looks at the text as well
  /// Whether the self-attention of the given name gives way to its values in some rows; none: in no layer.
  std::function<bool(const std::string& name)> perturbed;
  nn::Var perturbation;                       ///< [B, 1, 1], 1 for these rows and 0 for the others
  const ImagePromptInputs* images = nullptr;  ///< what the attention to the text looks at as well; nullptr: nothing
};

/// x: [B, H, W, C]; context: [B, T, D] → [B, H, W, C].
/// Rombach et al. 2022, section 3.3 (diffusers' Transformer2DModel with BasicTransformerBlock).
nn::Var transformer_2d(const nn::Scope& s, const nn::Var& x, const nn::Var& context, const Transformer2DConfig& config);

}  // namespace easel::models
