// Pictures in memory, and reading them from any file that a user may have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace easel::io {

/// 8-bit samples, rows from the top, no padding: pixels[(y * width + x) * channels + c], 0 … 255.
struct Image {
  int64_t width = 0, height = 0;
  int channels = 3;  ///< 3: RGB; 1: gray, as masks are
  std::vector<uint8_t> pixels;
};

/// Pictures beyond these are refused before memory is taken for them.
inline constexpr int64_t kMaxImageSide = 32768;               ///< pixels
inline constexpr int64_t kMaxImagePixels = int64_t{1} << 27;  ///< width × height

struct ImageSize {
  int64_t width = 0, height = 0;
};

/// Reads a PNG, JPEG or WebP file, told apart by its first bytes, as 8-bit RGB the way up that its EXIF orientation
/// asks for: what Pillow's ImageOps.exif_transpose(Image.open(path)).convert("RGB") gives. Palettes and gray are
/// expanded, 16-bit samples keep their high byte, CMYK becomes RGB without a colour profile, alpha is dropped.
/// Throws io, naming `where`, for anything else, for animations, truncated files and pictures beyond the limits above.
Image decode_image(std::span<const std::byte> bytes, std::string_view where);
Image read_image(const std::string& path);

/// The size that read_image() would give, from the file's head alone. Throws as it does.
ImageSize read_image_size(const std::string& path);

/// The picture the way up that an EXIF orientation (1 … 8) means. Throws invalid_argument for other numbers.
Image oriented(Image image, int orientation);

}  // namespace easel::io
