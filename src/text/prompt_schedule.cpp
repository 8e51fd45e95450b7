// The web UI's prompt editing: AND, [a:b:t] and [a|b]. Its grammar, in which a bracket is a mark only if all that is
// inside of it follows the grammar too:
//   prompt    = { "(" prompt [":" prompt] ")" | "[" prompt "]" | scheduled | alternate | plain }
//   scheduled = "[" [prompt ":"] prompt ":" number "]"
//   alternate = "[" prompt "|" prompt { "|" prompt } "]"
//   plain     = { any character but \ [ ] ( ) : | , or a backslash with the character after it }
// Around prompts, brackets and colons without a partner are text.
#include <algorithm>
#include <set>
#include <unordered_map>

#include "text/prompt.h"
#include "text/prompt_syntax.h"

namespace easel::text {

namespace {

constexpr size_t kNone = std::string_view::npos;

class ScheduleReader {
 public:
  ScheduleReader(std::string_view prompt, int steps) : prompt_(prompt), steps_(steps) {
    // A group depends on those inside of it alone, which start later.
    for (size_t at = prompt.size(); at-- > 0;)
      if ((prompt[at] == '(' || prompt[at] == '[') && !escaped(at)) read_group(at);
  }

  std::vector<ScheduledText> schedule() const {
    std::vector<ScheduledText> out;
    if (!well_formed()) return {{steps_, std::string(prompt_)}};
    std::set<int> ends = {steps_};
    for (const auto& [at, group] : groups_) {
      if (group.kind == Kind::scheduled && group.when >= 1) ends.insert(group.when);
      if (group.kind == Kind::alternate)
        for (int step = 1; step <= steps_; ++step) ends.insert(step);
    }
    for (const int step : ends) {
      std::string text;
      write({0, prompt_.size()}, step, 0, text);
      if (!out.empty() && out.back().text == text)
        out.back().until = step;
      else
        out.push_back({step, std::move(text)});
    }
    return out;
  }

 private:
  struct Range {
    size_t begin = 0, end = 0;
  };
  enum class Kind { literal, scheduled, alternate };
  struct Group {
    size_t end = 0;  // behind the closing bracket
    Kind kind = Kind::literal;
    std::vector<Range> fields;  // what there is to choose from
    int when = 0;               // scheduled: the last step, from 1, of the first field
  };

  bool escaped(size_t at) const {
    size_t begin = at;
    while (begin > 0 && prompt_[begin - 1] == '\\') --begin;
    return (at - begin) % 2 == 1;
  }

  // Where a prompt that begins at `at` ends: at one of ) ] : | or at what is no prompt.
  size_t sequence_end(size_t at) const {
    while (at < prompt_.size()) {
      switch (prompt_[at]) {
        case '\\':
          if (at + 1 >= prompt_.size() || prompt_[at + 1] == '\n') return kNone;
          at += 2;
          break;
        case '(':
        case '[': {
          const auto group = groups_.find(at);
          if (group == groups_.end()) return kNone;
          at = group->second.end;
          break;
        }
        case ')':
        case ']':
        case ':':
        case '|': return at;
        default: ++at;
      }
    }
    return kNone;
  }

  // Keeps what starts at `at`, if it is a group.
  void read_group(size_t at) {
    const char closing = prompt_[at] == '(' ? ')' : ']';
    Group group;
    char separator = 0;
    for (size_t begin = at + 1;;) {
      const size_t end = sequence_end(begin);
      if (end == kNone) return;
      group.fields.push_back({begin, end});
      begin = end + 1;
      if (prompt_[end] == closing) break;
      if (prompt_[end] != ':' && prompt_[end] != '|') return;
      if (separator != 0 && prompt_[end] != separator) return;
      separator = prompt_[end];
    }
    group.end = group.fields.back().end + 1;
    if (closing == ')') {
      if (separator == '|' || group.fields.size() > 2) return;
    } else if (separator == '|') {
      group.kind = Kind::alternate;
    } else if (separator == ':' && !read_when(group)) {
      return;
    }
    groups_.emplace(at, std::move(group));
  }

  bool read_when(Group& group) const {
    if (group.fields.size() > 3) return false;
    const std::string_view digits = trim(text(group.fields.back()));
    const auto number = parse_number(digits, true);
    if (!number) return false;
    const double step = digits.find('.') == kNone ? *number : *number * steps_;
    group.when = static_cast<int>(std::clamp(step, -1.0, static_cast<double>(steps_)));
    group.kind = Kind::scheduled;
    group.fields.pop_back();
    if (group.fields.size() == 1) group.fields.insert(group.fields.begin(), Range{});
    return true;
  }

  bool well_formed() const {
    for (size_t at = 0; at < prompt_.size();) {
      const auto group = groups_.find(at);
      if (group != groups_.end()) {
        at = group->second.end;
        continue;
      }
      const char c = prompt_[at];
      if (c == '|' || (c == '\\' && (at + 1 >= prompt_.size() || prompt_[at + 1] == '\n'))) return false;
      at += c == '\\' ? 2 : 1;
    }
    return true;
  }

  std::string_view text(const Range& range) const { return prompt_.substr(range.begin, range.end - range.begin); }

  void write(const Range& range, int step, int nesting, std::string& out) const {
    if (nesting > kMaxPromptNesting) fail_nesting(range.begin);
    for (size_t at = range.begin; at < range.end;) {
      const auto found = prompt_[at] == '[' ? groups_.find(at) : groups_.end();
      if (found != groups_.end() && found->second.kind != Kind::literal) {
        const Group& group = found->second;
        const size_t choice = group.kind == Kind::scheduled ? (step <= group.when ? 0 : 1)
                                                            : static_cast<size_t>(step - 1) % group.fields.size();
        write(group.fields[choice], step, nesting + 1, out);
        at = group.end;
        continue;
      }
      const size_t length = prompt_[at] == '\\' && at + 1 < range.end ? 2 : 1;
      out += prompt_.substr(at, length);
      at += length;
    }
  }

  std::string_view prompt_;
  int steps_;
  std::unordered_map<size_t, Group> groups_;  // by the position of the opening bracket
};

// "a cat : 1.5" → "a cat" and 1.5; without a number, the weight is 1.
std::string_view take_weight(std::string_view part, double& weight) {
  part = trim_end(part);
  const size_t last = part.find_last_not_of(".0123456789");
  if (last == kNone) return part;
  const std::string_view digits = part.substr(last + 1);
  std::string_view before = part.substr(0, last + 1);
  const bool negative = before.ends_with('-');
  if (negative || before.ends_with('+')) before.remove_suffix(1);
  before = trim_end(before);
  const auto number = parse_number(digits, false);
  if (!number || !before.ends_with(':')) return part;
  weight = negative ? -*number : *number;
  before.remove_suffix(1);
  return trim_end(before);
}

}  // namespace

const std::string& PromptBranch::at(int step) const {
  for (const ScheduledText& entry : schedule)
    if (step <= entry.until) return entry.text;
  return schedule.back().text;
}

std::vector<PromptBranch> parse_schedule(std::string_view prompt, PromptStyle style, int steps, bool split_and) {
  check_prompt_utf8(prompt);
  if (style != PromptStyle::a1111) return {{1, {{steps, std::string(prompt)}}}};
  if (!split_and) return {{1, ScheduleReader(prompt, steps).schedule()}};
  std::vector<PromptBranch> branches;
  for (std::string_view part : split_at_word(prompt, "AND")) {
    PromptBranch branch;
    part = take_weight(part, branch.weight);
    branch.schedule = ScheduleReader(part, steps).schedule();
    branches.push_back(std::move(branch));
  }
  return branches;
}

}  // namespace easel::text
