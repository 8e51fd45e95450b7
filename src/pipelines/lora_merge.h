// From adapters to expressions over the weights of a model.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <easel/lora.h>

#include "exec/weight_store.h"
#include "graph/side_branches.h"
#include "pipelines/lora_targets.h"

namespace easel::pipelines {

/// What one adapter does to one layer.
struct LoraDelta {
  const LoraLayer* layer;
  double weight;  ///< on top of the layer's own scale
};

/// ΔW = weight · scale · …, as LoraLayer says: [O, the rest of W's elements per output]. Not for DoRA's norms, nor for
/// the LoRA of several deltas, which merged_weight() joins. Throws shape_mismatch if it does not fit `target`.
graph::ConstantPtr delta_of(const LoraDelta& delta, const LoraTarget& target, const std::string& where);

/// W + Σ ΔW, where what carries magnitudes m (DoRA) counts as m (W + ΔW) / ‖W + ΔW‖ − W, each beside the others as
/// diffusers runs them unmerged. In the shape of the target's weight. `where` begins messages: by delta.
graph::ConstantPtr merged_weight(const std::vector<LoraDelta>& deltas, const LoraTarget& target,
                                 const std::vector<std::string>& where);

/// b + Σ Δb; nullptr where no adapter changes the bias.
graph::ConstantPtr merged_bias(const std::vector<LoraDelta>& deltas, const LoraTarget& target,
                               const std::vector<std::string>& where);

/// An opened adapter with its weights.
struct OpenLora {
  std::shared_ptr<const LoraFile> file;
  double unet_weight = 1, text_weight = 1;
};

/// By component, what stands for its weights.
using ComponentReplacements = std::map<std::string, exec::Replacements>;

/// What adapters make of a model.
struct Adaptation {
  ComponentReplacements replacements;
  graph::SideRanks side_ranks;  ///< of the UNet's side branches, whose weights are among its replacements
};

/// Throws unsupported for a LoRA of another family than `family`, saying which and listing the layers that match
/// nothing, and shape_mismatch. Layers without a match in a LoRA that otherwise fits are left out, and one line per
/// file says so to `warn`. mode runtime: layers of the UNet that only LoRAs change get side branches.
Adaptation adapt(const std::vector<OpenLora>& loras, LoraMode mode, const LoraTargets& targets,
                 const std::string& family, const std::function<void(const std::string&)>& warn);

}  // namespace easel::pipelines
