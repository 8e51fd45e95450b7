#include <webp/decode.h>

#include <cstring>

#include "base/fail.h"
#include "io/exif.h"
#include "io/stored_image.h"

namespace easel::io {

namespace {

const char* problem(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: return "not enough memory for it";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "a feature that is not known";
    case VP8_STATUS_NOT_ENOUGH_DATA: return "the file ends too early";
    default: return "damaged data";
  }
}

// RIFF, its size, "WEBP"; then chunks of a name, a size and data padded to two bytes.
std::span<const std::byte> find_exif(std::span<const std::byte> bytes) {
  for (size_t at = 12; at + 8 <= bytes.size();) {
    size_t size = 0;
    for (size_t i = 0; i < 4; ++i) size |= std::to_integer<size_t>(bytes[at + 4 + i]) << (8 * i);
    if (size > bytes.size() - at - 8) break;
    if (std::memcmp(bytes.data() + at, "EXIF", 4) == 0) return bytes.subspan(at + 8, size);
    at += 8 + size + size % 2;
  }
  return {};
}

}  // namespace

StoredImage decode_webp(std::span<const std::byte> bytes, const std::string& where, bool size_only) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) fail(ErrorCode::internal, "{}: libwebp is of another version", where);
  const auto check = [&](VP8StatusCode status) {
    if (status != VP8_STATUS_OK)
      fail(ErrorCode::io, "{}: expected a readable WebP file, found: {}", where, problem(status));
  };
  check(WebPGetFeatures(data, bytes.size(), &config.input));
  if (config.input.has_animation) fail(ErrorCode::io, "{}: expected a single picture, found an animation", where);
  StoredImage out;
  out.image.width = config.input.width;
  out.image.height = config.input.height;
  if (out.image.width * out.image.height > kMaxImagePixels)
    fail(ErrorCode::io, "{}: expected at most {} pixels, found {}×{}", where, kMaxImagePixels, out.image.width,
         out.image.height);
  out.orientation = exif_orientation(find_exif(bytes));
  if (size_only) return out;
  out.image.pixels.resize(static_cast<size_t>(out.image.width * out.image.height * 3));
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = out.image.pixels.data();
  config.output.u.RGBA.stride = static_cast<int>(out.image.width) * 3;
  config.output.u.RGBA.size = out.image.pixels.size();
  check(WebPDecode(data, bytes.size(), &config));
  return out;
}

}  // namespace easel::io
