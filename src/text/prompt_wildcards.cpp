// {a|b}: choices by seed.
#include <algorithm>
#include <unordered_map>

#include "text/prompt.h"
#include "text/prompt_syntax.h"

namespace easel::text {

namespace {

// splitmix64. Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
class Choices {
 public:
  Choices(uint64_t seed, uint64_t stream) : state_(seed + stream * 0xd1b54a32d192ed03u) {}

  size_t below(size_t count) {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return static_cast<size_t>(((z >> 32) * static_cast<uint64_t>(count)) >> 32);
  }

 private:
  uint64_t state_;
};

std::string without_comments(std::string_view text) {
  std::string out;
  bool closes = true;  // whether a */ is still to come
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    if (closes && rest.starts_with("/*")) {
      const size_t end = rest.find("*/", 2);
      closes = end != std::string_view::npos;
      if (closes) {
        at += end + 2;
        continue;
      }
    }
    if (rest.starts_with("//"))
      at = std::min(text.find_first_of("\n\r", at), text.size());
    else
      out += text[at++];
  }
  return out;
}

class Expander {
 public:
  Expander(std::string_view text, PromptStyle style, uint64_t seed, uint64_t stream)
      : text_(text), comfy_(style == PromptStyle::comfy), choices_(seed, stream) {
    find_braces();
  }

  std::string expand() {
    write(0, text_.size(), 0);
    return std::move(out_);
  }

 private:
  struct Braces {
    size_t end = 0;                  // of the inside
    std::vector<size_t> separators;  // positions of its own |
    int squares = 0;                 // open square brackets
    bool closed = false;
  };

  void find_braces() {
    std::vector<size_t> open;
    for (size_t at = 0; at < text_.size(); ++at) {
      const char c = text_[at];
      if (c == '\\') {
        ++at;
      } else if (c == '{') {
        open.push_back(at);
        braces_[at].end = text_.size();
      } else if (!open.empty()) {
        Braces& top = braces_[open.back()];
        if (c == '}') {
          top.end = at;
          top.closed = true;
          open.pop_back();
        } else if (c == '|' && (comfy_ || top.squares == 0)) {
          top.separators.push_back(at);
        } else if (c == '[') {
          ++top.squares;
        } else if (c == ']' && top.squares > 0) {
          --top.squares;
        }
      }
    }
    if (!comfy_)
      std::erase_if(braces_, [](const auto& at) { return !at.second.closed || at.second.separators.empty(); });
  }

  void write(size_t begin, size_t end, int nesting) {
    if (nesting > kMaxPromptNesting) fail_nesting(begin);
    for (size_t at = begin; at < end; ++at) {
      const char c = text_[at];
      if (c == '\\' && at + 1 < end) {
        const char next = text_[++at];
        // ComfyUI's escapes end here; all others belong to what reads the weights.
        if (!comfy_ || (next != '{' && next != '}' && next != '|')) out_ += c;
        out_ += next;
        continue;
      }
      const auto found = c == '{' ? braces_.find(at) : braces_.end();
      if (found == braces_.end()) {
        out_ += c;
        continue;
      }
      const Braces& braces = found->second;
      const size_t options = braces.separators.size() + 1, choice = choices_.below(options);
      write(choice == 0 ? at + 1 : braces.separators[choice - 1] + 1,
            choice + 1 == options ? braces.end : braces.separators[choice], nesting + 1);
      at = braces.end;
    }
  }

  std::string_view text_;
  bool comfy_;
  Choices choices_;
  std::unordered_map<size_t, Braces> braces_;  // by the position of the {
  std::string out_;
};

}  // namespace

std::string expand_wildcards(std::string_view prompt, PromptStyle style, uint64_t seed, uint64_t stream) {
  check_prompt_utf8(prompt);
  if (style == PromptStyle::plain) return std::string(prompt);
  const std::string text = style == PromptStyle::comfy ? without_comments(prompt) : std::string(prompt);
  return Expander(text, style, seed, stream).expand();
}

}  // namespace easel::text
