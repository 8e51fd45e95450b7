// Throwing easel::Error with a formatted message.
#pragma once

#include <fmt/format.h>

#include <easel/error.h>

namespace easel {

/// fail(ErrorCode::io, "{}: expected {} bytes, found {}", path, a, b)
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// `text` cut to about `max` bytes, with control characters, those that change the direction of writing, and bytes that
/// are no UTF-8 as \xNN: a message stays one line of text, whatever a file calls its tensors.
std::string printable(std::string_view text, size_t max = 120);

}  // namespace easel
