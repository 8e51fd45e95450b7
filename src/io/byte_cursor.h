// Little-endian numbers and texts, one after the other, out of bytes that nobody vouches for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace easel::io {

/// Little-endian number of `size` bytes, at most 8, at `at`; the caller has checked that they are there.
inline uint64_t number_at(std::span<const std::byte> bytes, uint64_t at, unsigned size) noexcept {
  uint64_t value = 0;
  for (unsigned i = size; i-- > 0;) value = value << 8 | std::to_integer<uint64_t>(bytes[at + i]);
  return value;
}
/// `size` bytes at `at` as text; the caller has checked that they are there.
inline std::string_view text_at(std::span<const std::byte> bytes, uint64_t at, uint64_t size) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()) + at, size};
}

/// Reads from the front. Reader has `refuse(format, args…) const`, which throws naming the file and the place; a reader
/// of a format derives from this: `class Reader : ByteCursor<Reader>`.
template <typename Reader>
class ByteCursor {
 protected:
  explicit ByteCursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t at() const noexcept { return at_; }
  uint64_t left() const noexcept { return bytes_.size() - at_; }
  /// The next `count` bytes. Refuses where they are not there.
  std::string_view take(uint64_t count) {
    if (count > left()) reader().refuse("expected {} more bytes, found {} (truncated?)", count, left());
    const std::string_view out = text_at(bytes_, at_, count);
    at_ += count;
    return out;
  }
  uint64_t number(unsigned size) {
    take(size);
    return number_at(bytes_, at_ - size, size);
  }
  /// Up to the next line feed, which is taken too. Refuses where there is none.
  std::string_view line() {
    const std::string_view rest = text_at(bytes_, at_, left());
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) reader().refuse("expected a line, found the end of the file (truncated?)");
    at_ += end + 1;
    return rest.substr(0, end);
  }

 private:
  const Reader& reader() const { return static_cast<const Reader&>(*this); }

  std::span<const std::byte> bytes_;
  uint64_t at_ = 0;
};

}  // namespace easel::io
