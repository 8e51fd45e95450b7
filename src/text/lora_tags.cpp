#include "text/lora_tags.h"

#include <algorithm>
#include <optional>

#include "base/fail.h"
#include "text/prompt_syntax.h"

namespace easel::text {

namespace {

double weight(std::string_view text, std::string_view tag) {
  const std::optional<double> value = parse_number(trim(text), true);
  if (!value)
    fail(ErrorCode::invalid_argument, "prompt: {}: expected a number as weight, found \"{}\"", printable(tag),
         printable(text, 40));
  return *value;
}

// What stands between < and >: false where that is no such tag.
bool read_tag(std::string_view inside, LoraTag& out) {
  const size_t colon = inside.find(':');
  const std::string_view kind = inside.substr(0, std::min(colon, inside.size()));
  if (colon == std::string_view::npos || (kind != "lora" && kind != "lyco")) return false;
  std::vector<std::string_view> positional;
  std::optional<double> te, unet;
  for (size_t begin = colon + 1; begin <= inside.size();) {
    const size_t end = std::min(inside.find(':', begin), inside.size());
    const std::string_view field = inside.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = field.find('=');
    const std::string_view name = trim(field.substr(0, std::min(equals, field.size())));
    if (equals == std::string_view::npos)
      positional.push_back(field);
    else if (name == "te")
      te = weight(field.substr(equals + 1), inside);
    else if (name == "unet")
      unet = weight(field.substr(equals + 1), inside);
  }
  if (positional.empty() || positional[0].empty()) return false;
  out.name = std::string(positional[0]);
  out.text_weight = te ? *te : positional.size() > 1 ? weight(positional[1], inside) : 1;
  out.unet_weight = unet ? *unet : positional.size() > 2 ? weight(positional[2], inside) : out.text_weight;
  return true;
}

}  // namespace

TaggedPrompt take_lora_tags(std::string_view prompt) {
  TaggedPrompt out;
  for (size_t at = 0; at < prompt.size();) {
    const size_t open = std::min(prompt.find('<', at), prompt.size());
    out.text += prompt.substr(at, open - at);
    const size_t close = prompt.find('>', open);
    LoraTag tag;
    if (open < prompt.size() && close != std::string_view::npos &&
        read_tag(prompt.substr(open + 1, close - open - 1), tag)) {
      out.loras.push_back(std::move(tag));
      at = close + 1;
      continue;
    }
    if (open < prompt.size()) out.text += '<';
    at = open + 1;
  }
  return out;
}

}  // namespace easel::text
