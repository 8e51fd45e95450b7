// What tokenizers need of Unicode.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace easel::text {

/// Byte offset of the first byte that is not well-formed UTF-8, or nothing.
std::optional<size_t> find_invalid_utf8(std::string_view text);

/// The code point that starts at text[position], and moves position behind it. `text` must be well-formed.
char32_t next_code_point(std::string_view text, size_t& position);
void append_code_point(std::string& text, char32_t point);

/// Canonical composition (NFC) by the tables of Unicode 9, as the `tokenizers` library does it.
std::string nfc(std::string_view text);

/// Every character by itself, as Rust's char::to_lowercase: no rule looks at neighbours, so Σ becomes σ even at
/// the end of a word, and İ becomes i and U+0307. Unicode 16.
std::string lowercase(std::string_view text);

/// White_Space of Unicode (without U+180E, which PCRE2's \s includes).
bool is_space(char32_t point);

/// Text from bytes that may not be UTF-8: U+FFFD stands for each maximal broken part, as Rust's from_utf8_lossy.
std::string utf8_lossy(std::string_view bytes);

}  // namespace easel::text
