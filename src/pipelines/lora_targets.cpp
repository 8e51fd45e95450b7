#include "pipelines/lora_targets.h"

#include <algorithm>
#include <vector>

#include "base/fail.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

namespace {

constexpr std::string_view kWeight = ".weight";

std::string flat(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

std::string without_weight(const std::string& name) { return name.substr(0, name.size() - kWeight.size()); }

// Names of modules that early diffusers gave to attention: the processor had one output layer, and text encoders were
// named like the UNet.
std::vector<std::string> early_names(const std::string& module) {
  static constexpr std::pair<std::string_view, std::string_view> kEnds[] = {
      {".to_out.0", ".to_out"},
      {".self_attn.q_proj", ".self_attn.to_q"},
      {".self_attn.k_proj", ".self_attn.to_k"},
      {".self_attn.v_proj", ".self_attn.to_v"},
      {".self_attn.out_proj", ".self_attn.to_out"}};
  std::vector<std::string> out = {module};
  for (const auto& [ours, theirs] : kEnds)
    if (module.ends_with(ours)) out.push_back(module.substr(0, module.size() - ours.size()) + std::string(theirs));
  return out;
}

}  // namespace

const LoraTarget& LoraTargets::target(const std::string& component, const std::string& module, const Shape& shape,
                                      const std::map<std::string, Shape>& weights) {
  const auto bias = weights.find(module + ".bias");
  return targets_[{component, module}] = {component, module, shape, bias == weights.end() ? 0 : bias->second.numel()};
}

void LoraTargets::add_unet(const std::map<std::string, Shape>& weights, const models::UNet2DConditionConfig& config) {
  const NameCandidates original = ldm_unet_names(config, "");
  for (const auto& [weight, shape] : weights) {
    if (!weight.ends_with(kWeight)) continue;
    const std::string module = without_weight(weight);
    const LoraTarget& layer = target("unet", module, shape, weights);
    for (const std::string& alias : early_names(module)) {
      name("unet." + alias, layer);
      name(alias, layer);
    }
    name("lora_unet_" + flat(module), layer);
    name("lycoris_" + flat(module), layer);
    for (const StoredName& stored : original(weight)) {
      const std::string theirs = without_weight(stored.name);
      name("diffusion_model." + theirs, layer);
      name("model.diffusion_model." + theirs, layer);
      name("lora_unet_" + flat(theirs), layer);
    }
  }
}

void LoraTargets::add_text_encoder(const std::map<std::string, Shape>& weights, int number) {
  const std::string component = number == 1 ? "text_encoder" : "text_encoder_2";
  const std::string comfy = fmt::format("text_encoders.clip_{}.transformer.text_model.", number == 1 ? 'l' : 'g');
  const std::vector<std::string> kohya =
      number == 1 ? std::vector<std::string>{"lora_te_", "lora_te1_"} : std::vector<std::string>{"lora_te2_"};
  for (const auto& [weight, shape] : weights) {
    if (!weight.ends_with(kWeight)) continue;
    const std::string module = without_weight(weight);
    const LoraTarget& layer = target(component, module, shape, weights);
    for (const std::string& alias : early_names(module))
      for (const std::string& prefix :
           {component + ".text_model.", component + ".", std::string("text_model."), std::string()})
        name(prefix + alias, layer);
    name(comfy + module, layer);
    for (const std::string& prefix : kohya) {
      name(prefix + "text_model_" + flat(module), layer);
      name(prefix + flat(module), layer);
    }
  }
}

const LoraTarget* LoraTargets::find(const std::string& module) const {
  const auto found = by_name_.find(module);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace easel::pipelines
