#include "text/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <memory>

#include "base/fail.h"

namespace easel::text {

namespace {

/// Length of the well-formed character at `position`, or 0; `broken` is then the number of bytes that belong to
/// the broken one (at least 1). Unicode 15, table 3-7.
size_t character_length(std::string_view text, size_t position, size_t& broken) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(position);
  broken = 1;
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xc2 && lead <= 0xdf   ? 2
                        : (lead & 0xf0) == 0xe0        ? 3
                        : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                       : 0;
  for (size_t k = 1; k < length; ++k, ++broken) {
    if (position + k >= text.size()) return 0;
    const unsigned low = k > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned high = k > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (byte(position + k) < low || byte(position + k) > high) return 0;
  }
  return length;
}

struct LowerRange {
  char32_t first, last;
  char32_t to;  // of `first`; the others follow in parallel
};
// Capitals that joined Unicode after version 15, which utf8proc 2.8 knows.
constexpr LowerRange kNewCapitals[] = {
    {0x1c89, 0x1c89, 0x1c8a},    {0xa7cb, 0xa7cb, 0x264},     {0xa7cc, 0xa7cc, 0xa7cd}, {0xa7ce, 0xa7ce, 0xa7cf},
    {0xa7d2, 0xa7d2, 0xa7d3},    {0xa7d4, 0xa7d4, 0xa7d5},    {0xa7da, 0xa7da, 0xa7db}, {0xa7dc, 0xa7dc, 0x19b},
    {0x10d50, 0x10d65, 0x10d70}, {0x16ea0, 0x16eb8, 0x16ebb},
};

// Combining marks that joined Unicode after version 9. The reference's tables do not know them, so to it they are
// plain characters, over which nothing moves or composes. (U+11930 is no mark, but composes since Unicode 13.)
constexpr char32_t kNewMarks[][2] = {
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},
    {0xa82c, 0xa82c},   {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50},
    {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x11930, 0x11930}, {0x1193d, 0x1193e}, {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34},
    {0x11a47, 0x11a47}, {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}};

bool is_new_mark(char32_t point) {
  for (const auto& [first, last] : kNewMarks)
    if (point >= first && point <= last) return true;
  return false;
}

std::string compose(std::string_view text) {
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &mapped, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, void (*)(void*)> owner(mapped, std::free);
  if (size == UTF8PROC_ERROR_NOMEM)
    fail(ErrorCode::out_of_memory, "{} bytes of text could not be normalized", text.size());
  if (size < 0) fail(ErrorCode::invalid_argument, "text could not be normalized: {}", utf8proc_errmsg(size));
  return {reinterpret_cast<const char*>(mapped), static_cast<size_t>(size)};
}

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  size_t broken = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t length = character_length(text, i, broken);
    if (length == 0) return i;
    i += length;
  }
  return std::nullopt;
}

char32_t next_code_point(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(position);
  const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  char32_t point = length == 1 ? lead : lead & (0x7fu >> length);
  for (size_t k = 1; k < length && position + k < text.size(); ++k) point = point << 6 | (byte(position + k) & 0x3fu);
  position += length;
  return point;
}

void append_code_point(std::string& text, char32_t point) {
  if (point < 0x80) {
    text += static_cast<char>(point);
    return;
  }
  const int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  constexpr unsigned char kLead[] = {0, 0xc0, 0xe0, 0xf0};
  text += static_cast<char>(kLead[more] | point >> (6 * more));
  for (int k = more - 1; k >= 0; --k) text += static_cast<char>(0x80 | (point >> (6 * k) & 0x3f));
}

std::string nfc(std::string_view text) {
  std::string out;
  size_t done = 0;
  bool ascii = true;
  const auto flush = [&](size_t end) {
    const std::string_view part = text.substr(done, end - done);
    out += ascii ? std::string(part) : compose(part);
    ascii = true;
  };
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    const char32_t point = next_code_point(text, i);
    if (is_new_mark(point)) {
      flush(start);
      out += text.substr(start, i - start);
      done = i;
    } else {
      ascii &= point < 0x80;
    }
  }
  flush(text.size());
  return out;
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const char32_t point = next_code_point(text, i);
    if (point == 0x130) {
      out += "i\u0307";
      continue;
    }
    char32_t lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point)));
    for (const LowerRange& range : kNewCapitals)
      if (point >= range.first && point <= range.last) lower = point - range.first + range.to;
    append_code_point(out, lower);
  }
  return out;
}

bool is_space(char32_t point) {
  return (point >= 9 && point <= 13) || point == 0x20 || point == 0x85 || point == 0xa0 || point == 0x1680 ||
         (point >= 0x2000 && point <= 0x200a) || point == 0x2028 || point == 0x2029 || point == 0x202f ||
         point == 0x205f || point == 0x3000;
}

std::string utf8_lossy(std::string_view bytes) {
  std::string out;
  size_t broken = 0;
  for (size_t i = 0; i < bytes.size();) {
    const size_t length = character_length(bytes, i, broken);
    if (length > 0)
      out += bytes.substr(i, length);
    else
      out += "\ufffd";
    i += length > 0 ? length : broken;
  }
  return out;
}

}  // namespace easel::text
