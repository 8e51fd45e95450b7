// <lora:name:weight> in prompts of the web UI.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace easel::text {

/// One tag: <lora:NAME>, <lora:NAME:TEXT_WEIGHT> or <lora:NAME:TEXT_WEIGHT:UNET_WEIGHT>, also with te=… and unet=….
/// The weight of the text encoders is 1 where it is not given, that of the UNet the same as theirs.
struct LoraTag {
  std::string name;
  double text_weight = 1, unet_weight = 1;
  bool operator==(const LoraTag&) const = default;
};

struct TaggedPrompt {
  std::string text;  ///< without the tags
  std::vector<LoraTag> loras;
};

/// Takes tags of the kinds lora and lyco out of a prompt, as the A1111 web UI does before anything else is read; all
/// other text stays. Throws invalid_argument for weights that are no finite numbers.
TaggedPrompt take_lora_tags(std::string_view prompt);

}  // namespace easel::text
