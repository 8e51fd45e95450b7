// PNG pictures with their text chunks. https://www.w3.org/TR/png-3/
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/image.h"

namespace easel::io {

/// Keyword and text, both UTF-8. Keywords are 1–79 Latin-1 characters.
using PngText = std::vector<std::pair<std::string, std::string>>;

struct Png {
  Image image;
  PngText text;         ///< in the order of the file
  int orientation = 1;  ///< that its EXIF data ask for, 1 … 8; the image is as it is stored
};

inline constexpr int64_t kMaxPngSide = kMaxImageSide;
inline constexpr int64_t kMaxPngPixels = kMaxImagePixels;

/// Reads any PNG as 8-bit RGB, as Pillow's convert("RGB") does: palettes and gray are expanded, 16-bit samples keep
/// their high byte, alpha and transparency are dropped, gamma and colour profiles are ignored. Text comes from tEXt,
/// zTXt and iTXt chunks; at most 100 chunks of 4 MiB each are kept. With keep_alpha, a picture that has alpha or a
/// transparent colour comes with 4 channels, as convert("RGBA") makes it. Throws io, naming `where`.
Png decode_png(std::span<const std::byte> bytes, std::string_view where, bool keep_alpha = false);
Png read_png(const std::string& path, bool keep_alpha = false);
/// Size, text and orientation alone, from what stands before the pixels.
Png decode_png_head(std::span<const std::byte> bytes, std::string_view where);

/// The file's bytes; they depend on the arguments alone (there is no time in it). Text is stored as tEXt where it is
/// Latin-1, else as iTXt. RGB, or RGBA where there are 4 channels. Throws invalid_argument for a bad image, keyword or
/// text (invalid UTF-8, or NUL in it).
std::string encode_png(const Image& image, const PngText& text = {});

/// Replaces what is at `path`. The file appears whole or not at all. Throws io or invalid_argument.
void write_png(const std::string& path, const Image& image, const PngText& text = {});
/// As write_png, but false, with nothing written, if something exists at `path`.
bool write_png_new(const std::string& path, const Image& image, const PngText& text = {});

}  // namespace easel::io
