#include "text/prompt_syntax.h"

#include <charconv>
#include <cmath>
#include <string>

#include "base/fail.h"
#include "text/prompt.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace easel::text {

namespace {

size_t last_start(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

}  // namespace

PromptStyle parse_prompt_style(std::string_view name) {
  for (const PromptStyle style : {PromptStyle::plain, PromptStyle::comfy, PromptStyle::a1111})
    if (name == to_string(style)) return style;
  if (name.empty()) return PromptStyle::plain;
  fail(ErrorCode::invalid_argument, "--prompt-style: expected plain, comfy or a1111, found '{}'", printable(name));
}

std::string_view to_string(PromptStyle style) noexcept {
  switch (style) {
    case PromptStyle::plain: return "plain";
    case PromptStyle::comfy: return "comfy";
    case PromptStyle::a1111: return "a1111";
  }
  return "?";
}

void check_prompt_utf8(std::string_view prompt) {
  if (const auto offset = find_invalid_utf8(prompt))
    fail(ErrorCode::invalid_argument, "prompt: expected UTF-8, found the byte 0x{:02x} at byte offset {}",
         static_cast<unsigned char>(prompt[*offset]), *offset);
}

void fail_nesting(size_t offset) {
  fail(ErrorCode::invalid_argument, "prompt: expected at most {} nested brackets, found more at byte offset {}",
       kMaxPromptNesting, offset);
}

bool starts_with_space(std::string_view text) {
  size_t position = 0;
  return !text.empty() && is_space(next_code_point(text, position));
}

bool ends_with_space(std::string_view text) {
  if (text.empty()) return false;
  size_t position = last_start(text);
  return is_space(next_code_point(text, position));
}

std::string_view trim_end(std::string_view text) {
  while (ends_with_space(text)) text = text.substr(0, last_start(text));
  return text;
}

std::string_view trim_start(std::string_view text) {
  size_t begin = 0;
  for (size_t next = 0; begin < text.size() && is_space(next_code_point(text, next));) begin = next;
  return text.substr(begin);
}

std::string_view trim(std::string_view text) { return trim_start(trim_end(text)); }

std::vector<std::string_view> split_at_word(std::string_view text, const char* word) {
  static const Regex kAnd("\\bAND\\b"), kBreak("\\bBREAK\\b");
  std::vector<std::string_view> parts;
  size_t begin = 0;
  for (const std::string_view found : (std::string_view(word) == "AND" ? kAnd : kBreak).find_all(text)) {
    const auto at = static_cast<size_t>(found.data() - text.data());
    parts.push_back(text.substr(begin, at - begin));
    begin = at + found.size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::optional<double> parse_number(std::string_view text, bool exponents) {
  if (text.starts_with('+')) {
    text.remove_prefix(1);
    if (text.starts_with('-')) return {};
  }
  double value = 0;
  const auto format = exponents ? std::chars_format::general : std::chars_format::fixed;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, format);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

}  // namespace easel::text
