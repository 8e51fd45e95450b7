// Pictures as prompts: IP-Adapter.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <easel/picture_inputs.h>

namespace easel {

/// One IP-Adapter, what it is shown, and how strongly that acts; see docs/IP_ADAPTER.md. Cross-attention of the UNet
/// becomes attention(text) + Σ scale · attention(pictures). Ye et al. 2023, "IP-Adapter: Text Compatible Image Prompt
/// Adapter for Text-to-Image Diffusion Models"; as diffusers' load_ip_adapter and set_ip_adapter_scale.
struct IpAdapter {
  std::string path;  ///< a file in the published layout: tensors image_proj.… and ip_adapter.1.to_k_ip.weight …
  /// At least one. Those of one adapter act together: their tokens stand side by side.
  std::vector<PictureSource> images;
  /// The folder (or safetensors file) of the CLIPVisionModelWithProjection that the adapter was trained with. Empty:
  /// the folder image_encoder beside the file, or the model's own.
  std::string image_encoder;
  double scale = 1;  ///< 0 leaves every picture as it is without the adapter, bit for bit
  /// Factors of the scale in parts of the UNet, the most exact name counting: "down", "mid", "up", "up.block_0",
  /// "up.block_0.1" (block and its attention), or names of layers ("up_blocks.0.attentions.1"). Where there are any,
  /// it does not act in layers that none names. Empty: it acts alike in all.
  std::vector<std::pair<std::string, double>> block_scales;
  double start = 0, end = 1;  ///< the part of the trained timesteps, from the noisiest, in which it acts
};

}  // namespace easel
