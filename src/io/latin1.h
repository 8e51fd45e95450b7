// Latin-1 and UTF-8, for the texts in PNG files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace easel::io {

/// The code points of UTF-8 text, or nothing if it is not well-formed.
std::optional<std::u32string> decode_utf8(std::string_view text);
/// Latin-1 bytes → UTF-8.
std::string latin1_to_utf8(std::string_view text);

}  // namespace easel::io
