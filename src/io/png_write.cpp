#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <memory>
#include <new>

#include "base/fail.h"
#include "io/atomic_file.h"
#include "io/latin1.h"
#include "io/png.h"

namespace easel::io {

namespace {

// As in reading, what libpng's longjmp could skip lives outside the function that sets the jump.
struct Encoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::string bytes;
  char message[160] = "";

  ~Encoder() { png_destroy_write_struct(&png, &info); }
};

void on_error(png_structp png, png_const_charp message) {
  auto* encoder = static_cast<Encoder*>(png_get_error_ptr(png));
  std::strncpy(encoder->message, message, sizeof encoder->message - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_write(png_structp png, png_bytep data, size_t count) {
  auto* encoder = static_cast<Encoder*>(png_get_io_ptr(png));
  bool stored = true;
  try {
    encoder->bytes.append(reinterpret_cast<const char*>(data), count);
  } catch (const std::bad_alloc&) {
    stored = false;
  }
  if (!stored) png_error(png, "out of memory");
}

void on_flush(png_structp) {}

bool encode(Encoder* encoder, png_uint_32 width, png_uint_32 height, bool alpha, png_textp texts, int count,
            png_bytepp rows) {
  encoder->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, encoder, on_error, on_warning);
  if (!encoder->png) return false;
  encoder->info = png_create_info_struct(encoder->png);
  if (!encoder->info) return false;
  if (setjmp(png_jmpbuf(encoder->png))) return false;
  png_set_write_fn(encoder->png, encoder, on_write, on_flush);
  png_set_compression_level(encoder->png, 6);
  png_set_IHDR(encoder->png, encoder->info, width, height, 8, alpha ? PNG_COLOR_TYPE_RGB_ALPHA : PNG_COLOR_TYPE_RGB,
               PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (count > 0) png_set_text(encoder->png, encoder->info, texts, count);
  png_write_info(encoder->png, encoder->info);
  png_write_image(encoder->png, rows);
  png_write_end(encoder->png, encoder->info);
  return true;
}

bool printable_latin1(char32_t point) { return (point >= 0x20 && point < 0x7f) || (point >= 0xa0 && point <= 0xff); }

std::string to_latin1(const std::u32string& points) {
  std::string out;
  for (const char32_t point : points) out += static_cast<char>(point);
  return out;
}

std::string checked_key(const std::string& key) {
  const auto points = decode_utf8(key);
  bool good = points && !points->empty() && points->size() <= 79 && points->front() != ' ' && points->back() != ' ';
  good = good && std::all_of(points->begin(), points->end(), printable_latin1);
  good = good && points->find(U"  ") == std::u32string::npos;
  if (!good) fail(ErrorCode::invalid_argument, "PNG keyword '{}': expected 1 to 79 Latin-1 characters", printable(key));
  return to_latin1(*points);
}

}  // namespace

std::string encode_png(const Image& image, const PngText& text) {
  if ((image.channels != 3 && image.channels != 4) || image.width < 1 || image.height < 1 ||
      image.width > kMaxPngSide || image.height > kMaxPngSide || image.width * image.height > kMaxPngPixels)
    fail(ErrorCode::invalid_argument, "PNG: expected 3 or 4 channels and 1 to {} pixels a side, found {}×{}×{}",
         kMaxPngSide, image.width, image.height, image.channels);
  const auto row_bytes = static_cast<size_t>(image.width * image.channels);
  if (image.pixels.size() != row_bytes * static_cast<size_t>(image.height))
    fail(ErrorCode::invalid_argument, "PNG: expected {} bytes of pixels for {}×{}, found {}",
         row_bytes * static_cast<size_t>(image.height), image.width, image.height, image.pixels.size());

  std::vector<std::pair<std::string, std::string>> stored;
  std::vector<png_text> entries;
  stored.reserve(text.size());
  for (const auto& [key, value] : text) {
    const auto points = decode_utf8(value);
    if (!points || value.find('\0') != std::string::npos)
      fail(ErrorCode::invalid_argument, "PNG text '{}': expected UTF-8 without NUL, found other bytes", printable(key));
    const bool latin1 = std::all_of(points->begin(), points->end(),
                                    [](char32_t point) { return point == '\n' || printable_latin1(point); });
    stored.emplace_back(checked_key(key), latin1 ? to_latin1(*points) : value);
    png_text entry{};
    entry.compression = latin1 ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    entry.key = stored.back().first.data();
    entry.text = stored.back().second.data();
    (latin1 ? entry.text_length : entry.itxt_length) = stored.back().second.size();
    entries.push_back(entry);
  }
  std::vector<png_bytep> rows(static_cast<size_t>(image.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = const_cast<png_bytep>(image.pixels.data() + y * row_bytes);

  const auto encoder = std::make_unique<Encoder>();
  if (!encode(encoder.get(), static_cast<png_uint_32>(image.width), static_cast<png_uint_32>(image.height),
              image.channels == 4, entries.data(), static_cast<int>(entries.size()), rows.data()))
    fail(ErrorCode::out_of_memory, "PNG: {}×{} pixels could not be packed: {}", image.width, image.height,
         printable(encoder->message));
  return std::move(encoder->bytes);
}

void write_png(const std::string& path, const Image& image, const PngText& text) {
  AtomicFile file(path);
  file.write(encode_png(image, text));
  file.commit();
}

bool write_png_new(const std::string& path, const Image& image, const PngText& text) {
  AtomicFile file(path);
  file.write(encode_png(image, text));
  return file.commit_new();
}

}  // namespace easel::io
