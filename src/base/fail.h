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

/// `text` with control characters escaped and cut to `max` bytes, so that a message stays one line.
std::string printable(std::string_view text, size_t max = 120);

}  // namespace easel
