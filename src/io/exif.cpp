#include "io/exif.h"

#include <cstdint>
#include <cstring>

namespace easel::io {

int exif_orientation(std::span<const std::byte> exif) {
  constexpr unsigned kOrientation = 0x0112, kShort = 3;
  if (exif.size() >= 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0) exif = exif.subspan(6);
  if (exif.size() < 8) return 1;
  const bool little = std::memcmp(exif.data(), "II", 2) == 0;
  if (!little && std::memcmp(exif.data(), "MM", 2) != 0) return 1;
  const auto number = [&](size_t at, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i)
      value = value << 8 | std::to_integer<uint64_t>(exif[at + (little ? bytes - 1 - i : i)]);
    return value;
  };
  if (number(2, 2) != 42) return 1;
  const uint64_t directory = number(4, 4);
  if (directory + 2 > exif.size()) return 1;
  const uint64_t count = number(directory, 2);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t entry = directory + 2 + 12 * i;
    if (entry + 12 > exif.size()) return 1;
    if (number(entry, 2) != kOrientation) continue;
    const uint64_t value = number(entry + 2, 2) == kShort ? number(entry + 8, 2) : 1;
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace easel::io
