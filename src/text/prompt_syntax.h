// What the readers of the prompt language share. Internal to the room.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace easel::text {

/// Throws invalid_argument with the byte offset if the prompt is not UTF-8.
void check_prompt_utf8(std::string_view prompt);

[[noreturn]] void fail_nesting(size_t offset);

/// White space of Unicode removed at both ends, or at one.
std::string_view trim(std::string_view text);
std::string_view trim_start(std::string_view text);
std::string_view trim_end(std::string_view text);
bool starts_with_space(std::string_view text);
bool ends_with_space(std::string_view text);

/// The parts of `text` between whole words `word`: "a AND b" → "a ", " b"; ANDROID is no such word.
std::vector<std::string_view> split_at_word(std::string_view text, const char* word);

/// A finite decimal number that is the whole of `text`: sign, digits, point; exponent where `exponents` says so.
std::optional<double> parse_number(std::string_view text, bool exponents);

}  // namespace easel::text
