// ControlNets and T2I-Adapters on disk.
#pragma once

#include <string>

#include <optional>

#include "models/controlnet.h"
#include "models/t2i_adapter.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

/// One of the two.
struct ControlFiles {
  std::optional<models::ControlNetConfig> control_net;
  std::optional<models::T2IAdapterConfig> adapter;
  std::shared_ptr<const FileWeights> weights;
};

/// A ControlNet or T2I-Adapter from a diffusers folder, or from a file of any container in diffusers' or the original
/// names (alone, or within a checkpoint as the original program trains it). Where no config.json says it, what no
/// tensor shows (heads, groups, …) is as in `like`, the UNet that is steered: a ControlNet begins as a copy of its
/// first half. Throws io or unsupported, beginning with `where`.
ControlFiles read_control(const std::string& path, const std::string& where, const models::UNet2DConditionConfig& like);

/// Throws unsupported, naming both families, unless the residuals of the ControlNet are those that the model's UNet
/// takes, and what it is told is what the model has.
void expect_fit(const models::ControlNetConfig& control_net, const ModelFiles& model, const std::string& where);
/// The same for the features of an adapter; returns how many of them the UNet takes. Like diffusers, it leaves out
/// those behind its levels that do not have the shape of its middle.
size_t expect_fit(const models::T2IAdapterConfig& adapter, const ModelFiles& model, const std::string& where);

/// "Stable Diffusion 1.x (attention to 768 features, levels of 320, 640, 1280, 1280 channels)".
std::string describe_encoder(const models::UNet2DConditionConfig& encoder);

/// Names in the original layout behind `prefix`: the encoder's as in a UNet, the picture's embedding as
/// input_hint_block, the convolutions of the residuals as zero_convs and middle_block_out.
NameCandidates ldm_control_net_names(const models::ControlNetConfig& config, const std::string& prefix);

/// A T2I-Adapter's names in the original program, where the blocks of all levels are counted through.
NameCandidates original_adapter_names(const models::T2IAdapterConfig& config);

}  // namespace easel::pipelines
