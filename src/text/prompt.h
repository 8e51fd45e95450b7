// The prompt language: what the marks in a prompt mean, in the dialects that prompts are shared in.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace easel::text {

/// plain: every character is text. comfy: as ComfyUI reads prompts. a1111: as the A1111 web UI does.
enum class PromptStyle { plain, comfy, a1111 };

/// "plain" (also ""), "comfy", "a1111". Throws invalid_argument beginning with "--prompt-style" for anything else.
PromptStyle parse_prompt_style(std::string_view name);
std::string_view to_string(PromptStyle style) noexcept;

/// Brackets may nest this deep; deeper ones are refused, so that no prompt exhausts the stack.
inline constexpr int kMaxPromptNesting = 256;

// All functions below throw invalid_argument, with the byte offset, for text that is not UTF-8 or nests too deep.
// Nothing else in a prompt is an error: brackets without a partner and numbers that are none become text.

/// Chooses one of the options of every {a|b|c}, and of those nested in the choice, by a generator that starts from
/// `seed` and `stream` (one per text of a request). The choice is the k-th output of splitmix64, scaled to the number
/// of options, for the k-th pair of braces that is reached.
/// comfy: every { starts a choice, closed or not; \{ \| \} are those characters; first, comments from // to the end of
/// the line and between /* and */ are removed. a1111: only braces that close and hold a | outside of [ ], as its
/// extension Dynamic Prompts has it; all others are text. plain: the text itself.
std::string expand_wildcards(std::string_view prompt, PromptStyle style, uint64_t seed, uint64_t stream = 0);

/// What a prompt says during a part of the run.
struct ScheduledText {
  int until = 0;  ///< the last step, counted from 0, with this text
  std::string text;
  bool operator==(const ScheduledText&) const = default;
};

/// One conditioning: its weight beside the others and its text over time, at least one entry.
struct PromptBranch {
  double weight = 1;
  std::vector<ScheduledText> schedule;
  /// The text at a step from 0: the first entry with step ≤ until, else the last.
  const std::string& at(int step) const;
};

/// a1111: the word AND separates conditionings, and a number after a colon at the end of one is its weight (with
/// split_and false, as for negative prompts, AND is a word and the colon text). Within each, over `steps` steps,
///   [a:b:t]  is a up to step t and b from then on; t with a dot is a fraction of the steps. [b:t], [a::t] likewise.
///   [a|b|c]  alternates with every step.
/// Entries end as the web UI counts: it compares a step counted from 0 with t ≤, so that t = 5 keeps a for the steps
/// 0 … 5, and the first alternative holds for steps 0 and 1. A text with a | or a last backslash outside of these
/// forms has no schedule and stays as it is. Other styles: one branch, one entry.
std::vector<PromptBranch> parse_schedule(std::string_view prompt, PromptStyle style, int steps, bool split_and = true);

/// A run of text of one weight; or, with is_break, the word BREAK, which starts a new chunk (a1111).
struct WeightedText {
  std::string text;  ///< without marks; never empty unless is_break
  double weight = 1;
  bool is_break = false;
  bool operator==(const WeightedText&) const = default;
};

/// comfy: (x) multiplies the weight by 1.1, (x:1.3) sets it, whatever is around; \( and \) are brackets.
///   A ) without partner is text and takes the next ( with it; so is an open ( with what follows, unless the text
///   ends in ), which then closes it. The number is what follows the last colon; inf and nan are text.
/// a1111: (x) multiplies by 1.1, [x] divides by 1.1, (x:1.3) multiplies by 1.3; a backslash makes the next character
///   text. Open brackets hold to the end of the text, others without partner are text. A malformed number, such as
///   1.2.3, is text.
/// plain: one run of weight 1. Neighbours of equal weight are one run in a1111 and several in comfy, where a run is
/// what is kept together at the end of a chunk.
std::vector<WeightedText> parse_weights(std::string_view prompt, PromptStyle style);

/// A prompt that parse_weights reads as `runs`, if they came from there. Not for plain.
std::string print_weights(const std::vector<WeightedText>& runs, PromptStyle style);

}  // namespace easel::text
