// Weights: (x), (x:1.3), [x] and BREAK, read and printed.
#include <algorithm>
#include <charconv>
#include <limits>

#include "text/prompt.h"
#include "text/prompt_syntax.h"

namespace easel::text {

namespace {

constexpr double kRound = 1.1;       // (x)
constexpr double kSquare = 1 / 1.1;  // [x], as the web UI computes it

double times(double a, double b) {
  constexpr double kMax = std::numeric_limits<double>::max();
  return std::clamp(a * b, -kMax, kMax);
}

// ---- ComfyUI -------------------------------------------------------------------------------------------------------

bool is_escape(std::string_view text, size_t at) {
  return text[at] == '\\' && at + 1 < text.size() && (text[at + 1] == '(' || text[at + 1] == ')');
}

class ComfyReader {
 public:
  explicit ComfyReader(std::string_view prompt) : prompt_(prompt) {}

  std::vector<WeightedText> read() {
    sequence(prompt_, 1, 0);
    return std::move(runs_);
  }

 private:
  // Depth counts down below zero too: a stray ) takes the next ( with it.
  void sequence(std::string_view text, double weight, int nesting) {
    if (nesting > kMaxPromptNesting) fail_nesting(static_cast<size_t>(text.data() - prompt_.data()));
    int64_t depth = 0;
    size_t begin = 0;         // of the item that is being collected
    bool closed_end = false;  // whether the last character is a ) and no escape
    for (size_t at = 0; at < text.size(); ++at) {
      closed_end = false;
      if (is_escape(text, at)) {
        ++at;
      } else if (text[at] == '(') {
        if (depth == 0) {
          plain(text.substr(begin, at - begin), weight);
          begin = at;
        }
        ++depth;
      } else if (text[at] == ')') {
        closed_end = true;
        if (--depth == 0) {
          group(text.substr(begin + 1, at - begin - 1), weight, nesting);
          begin = at + 1;
        }
      }
    }
    if (begin >= text.size()) return;
    const std::string_view rest = text.substr(begin);
    // An open bracket at the end: the text's last ) closes it after all.
    if (rest.size() >= 2 && rest[0] == '(' && closed_end)
      group(rest.substr(1, rest.size() - 2), weight, nesting);
    else
      plain(rest, weight);
  }

  void group(std::string_view inside, double weight, int nesting) {
    weight = times(weight, kRound);
    const size_t colon = inside.rfind(':');
    if (colon != std::string_view::npos && colon > 0)
      if (const auto number = parse_number(trim(inside.substr(colon + 1)), true)) {
        weight = *number;
        inside = inside.substr(0, colon);
      }
    sequence(inside, weight, nesting + 1);
  }

  void plain(std::string_view text, double weight) {
    if (text.empty()) return;
    WeightedText run{"", weight, false};
    for (size_t at = 0; at < text.size(); ++at) {
      if (is_escape(text, at)) ++at;
      run.text += text[at];
    }
    runs_.push_back(std::move(run));
  }

  std::string_view prompt_;
  std::vector<WeightedText> runs_;
};

// ---- A1111 ---------------------------------------------------------------------------------------------------------

class A1111Reader {
 public:
  explicit A1111Reader(std::string_view prompt) : prompt_(prompt) {}

  std::vector<WeightedText> read() {
    for (size_t at = 0; at < prompt_.size();) at = token(at);
    while (!round_.empty()) close(round_, kRound);
    while (!square_.empty()) close(square_, kSquare);
    return merged();
  }

 private:
  // Reads the token at `at` and returns where the next one starts.
  size_t token(size_t at) {
    constexpr std::string_view kMarks = "\\()[]:";
    const char c = prompt_[at];
    switch (c) {
      case '\\': {
        const bool mark =
            at + 1 < prompt_.size() && prompt_[at + 1] != ':' && kMarks.find(prompt_[at + 1]) != std::string_view::npos;
        runs_.push_back({mark ? std::string(1, prompt_[at + 1]) : "", 1, false});
        return at + (mark ? 2 : 1);
      }
      case '(': open(round_, at); return at + 1;
      case '[': open(square_, at); return at + 1;
      case ')': mark_or_text(round_, kRound, ")"); return at + 1;
      case ']': mark_or_text(square_, kSquare, "]"); return at + 1;
      case ':': return colon(at);
      default: {
        const size_t end = std::min(prompt_.find_first_of(kMarks, at), prompt_.size());
        words(prompt_.substr(at, end - at));
        return end;
      }
    }
  }

  // ":1.2)" closes a round bracket; any other colon is text.
  size_t colon(size_t at) {
    const std::string_view rest = trim_start(prompt_.substr(at + 1));
    const std::string_view digits = rest.substr(0, rest.find_first_not_of("+-.0123456789"));
    const std::string_view behind = trim_start(rest.substr(digits.size()));
    const auto number = behind.starts_with(')') && !round_.empty() ? parse_number(digits, false) : std::nullopt;
    if (!number) {
      words(":");
      return at + 1;
    }
    close(round_, *number);
    return static_cast<size_t>(behind.data() - prompt_.data()) + 1;
  }

  void mark_or_text(std::vector<size_t>& brackets, double factor, const char* text) {
    if (brackets.empty())
      words(text);
    else
      close(brackets, factor);
  }

  void words(std::string_view text) {
    const std::vector<std::string_view> parts = split_at_word(text, "BREAK");
    for (size_t i = 0; i < parts.size(); ++i) {
      if (i > 0) runs_.push_back({"", 1, true});
      std::string_view part = parts[i];
      if (i + 1 < parts.size()) part = trim_end(part);
      if (i > 0) part = trim_start(part);
      runs_.push_back({std::string(part), 1, false});
    }
  }

  void open(std::vector<size_t>& brackets, size_t at) {
    if (round_.size() + square_.size() >= static_cast<size_t>(kMaxPromptNesting)) fail_nesting(at);
    brackets.push_back(runs_.size());
  }

  void close(std::vector<size_t>& brackets, double factor) {
    for (size_t i = brackets.back(); i < runs_.size(); ++i) runs_[i].weight = times(runs_[i].weight, factor);
    brackets.pop_back();
  }

  // Neighbours of one weight become one; what is empty has done its part.
  std::vector<WeightedText> merged() {
    std::vector<WeightedText> out;
    for (WeightedText& run : runs_) {
      if (run.is_break)
        out.push_back({"", 1, true});
      else if (run.text.empty())
        continue;
      else if (!out.empty() && !out.back().is_break && out.back().weight == run.weight)
        out.back().text += run.text;
      else
        out.push_back(std::move(run));
    }
    return out;
  }

  std::string_view prompt_;
  std::vector<WeightedText> runs_;
  std::vector<size_t> round_, square_;  // first run of each open bracket
};

// ---- printing ------------------------------------------------------------------------------------------------------

std::string print_number(double value, PromptStyle style) {
  char digits[512];  // the smallest double takes 326 places
  const auto format = style == PromptStyle::a1111 ? std::chars_format::fixed : std::chars_format::general;
  return {digits, std::to_chars(digits, digits + sizeof digits, value, format).ptr};
}

std::string escaped(std::string_view text, PromptStyle style) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (style == PromptStyle::a1111 && text.substr(at).starts_with("BREAK")) {
      out += "B\\";
      continue;
    }
    const bool mark = text[at] == '(' || text[at] == ')';
    const bool a1111_mark = text[at] == '[' || text[at] == ']' || text[at] == '\\';
    if (mark || (a1111_mark && style == PromptStyle::a1111)) out += '\\';
    out += text[at];
  }
  return out;
}

}  // namespace

std::vector<WeightedText> parse_weights(std::string_view prompt, PromptStyle style) {
  check_prompt_utf8(prompt);
  if (style == PromptStyle::comfy) return ComfyReader(prompt).read();
  if (style == PromptStyle::a1111) return A1111Reader(prompt).read();
  if (prompt.empty()) return {};
  return {{std::string(prompt), 1, false}};
}

std::string print_weights(const std::vector<WeightedText>& runs, PromptStyle style) {
  std::string out;
  bool after_bare = false;
  for (size_t i = 0; i < runs.size(); ++i) {
    const WeightedText& run = runs[i];
    if (run.is_break) {
      out += " BREAK ";
      after_bare = false;
      continue;
    }
    // A run stands without brackets where that reads as the same run again: not glued to the one before, its last
    // backslash no escape, its outer spaces not taken by a BREAK.
    const bool comfy_glues = style == PromptStyle::comfy && (after_bare || run.text.ends_with('\\'));
    const bool break_takes = (i > 0 && runs[i - 1].is_break && starts_with_space(run.text)) ||
                             (i + 1 < runs.size() && runs[i + 1].is_break && ends_with_space(run.text));
    after_bare = run.weight == 1 && !comfy_glues && !break_takes;
    if (!after_bare) out += '(';
    out += escaped(run.text, style);
    if (!after_bare) out.append(1, ':').append(print_number(run.weight, style)).append(1, ')');
  }
  return out;
}

}  // namespace easel::text
