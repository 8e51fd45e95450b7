#include "io/image.h"

#include <cstring>

#include "base/fail.h"
#include "io/mapped_file.h"
#include "io/png.h"
#include "io/stored_image.h"

namespace easel::io {

namespace {

bool has_at(std::span<const std::byte> bytes, size_t at, std::string_view mark) {
  return bytes.size() >= at + mark.size() && std::memcmp(bytes.data() + at, mark.data(), mark.size()) == 0;
}

StoredImage decode(std::span<const std::byte> bytes, std::string_view where_view, bool size_only) {
  const std::string where = printable(where_view, 300);
  if (has_at(bytes, 0, "\x89PNG")) {
    Png png = size_only ? decode_png_head(bytes, where) : decode_png(bytes, where);
    return {std::move(png.image), png.orientation};
  }
  if (has_at(bytes, 0, "\xff\xd8\xff")) return decode_jpeg(bytes, where, size_only);
  if (has_at(bytes, 0, "RIFF") && has_at(bytes, 8, "WEBP")) return decode_webp(bytes, where, size_only);
  fail(ErrorCode::io, "{}: expected a PNG, JPEG or WebP picture, found {}", where,
       bytes.empty() ? "an empty file" : "something else");
}

}  // namespace

Image decode_image(std::span<const std::byte> bytes, std::string_view where) {
  StoredImage stored = decode(bytes, where, false);
  return oriented(std::move(stored.image), stored.orientation);
}

Image read_image(const std::string& path) {
  const auto file = MappedFile::open(path);
  return decode_image(file->bytes(), path);
}

ImageSize read_image_size(const std::string& path) {
  const auto file = MappedFile::open(path);
  const StoredImage stored = decode(file->bytes(), path, true);
  const bool turned = stored.orientation >= 5;
  return turned ? ImageSize{stored.image.height, stored.image.width}
                : ImageSize{stored.image.width, stored.image.height};
}

Image oriented(Image image, int orientation) {
  if (orientation < 1 || orientation > 8)
    fail(ErrorCode::invalid_argument, "EXIF orientation: expected 1 to 8, found {}", orientation);
  if (orientation == 1) return image;
  // 2: left and right change places, 4: top and bottom, 3: both; 5 to 8: after rows and columns have done so.
  const bool turned = orientation >= 5;
  const bool flip_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool flip_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  Image out;
  out.width = turned ? image.height : image.width;
  out.height = turned ? image.width : image.height;
  out.channels = image.channels;
  out.pixels.resize(image.pixels.size());
  const auto channels = static_cast<size_t>(image.channels);
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      const int64_t u = flip_x ? out.width - 1 - x : x, v = flip_y ? out.height - 1 - y : y;
      const int64_t from = turned ? u * image.width + v : v * image.width + u;
      std::memcpy(out.pixels.data() + static_cast<size_t>(y * out.width + x) * channels,
                  image.pixels.data() + static_cast<size_t>(from) * channels, channels);
    }
  return out;
}

}  // namespace easel::io
