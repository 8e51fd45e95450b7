// JPEG and WebP pictures; decode_image() in image.h calls these.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "io/image.h"

namespace easel::io {

/// A picture as it is stored, and the orientation that its EXIF data ask for. `pixels` is empty where only the size was
/// wanted.
struct StoredImage {
  Image image;
  int orientation = 1;
};

/// Throw io, beginning with `where`.
StoredImage decode_jpeg(std::span<const std::byte> bytes, const std::string& where, bool size_only);
StoredImage decode_webp(std::span<const std::byte> bytes, const std::string& where, bool size_only);

}  // namespace easel::io
