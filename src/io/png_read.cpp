#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/fail.h"
#include "io/exif.h"
#include "io/latin1.h"
#include "io/mapped_file.h"
#include "io/png.h"

namespace easel::io {

namespace {

constexpr png_alloc_size_t kMaxChunk = 4u << 20;
constexpr png_uint_32 kMaxChunks = 100;

// libpng reports errors by longjmp. The functions that set the jump hold no C++ objects, everything lives here.
struct Decoder {
  png_structp png = nullptr;
  png_infop info = nullptr;
  const std::byte* data = nullptr;
  size_t size = 0, position = 0;
  bool keep_alpha = false;
  char message[160] = "", warning[160] = "";

  ~Decoder() { png_destroy_read_struct(&png, &info, nullptr); }
};

void on_error(png_structp png, png_const_charp message) {
  auto* decoder = static_cast<Decoder*>(png_get_error_ptr(png));
  std::strncpy(decoder->message, message, sizeof decoder->message - 1);
  png_longjmp(png, 1);
}

// Some errors are explained by the warning before them only: "Image width exceeds user limit", "Invalid IHDR data".
void on_warning(png_structp png, png_const_charp message) {
  auto* decoder = static_cast<Decoder*>(png_get_error_ptr(png));
  std::strncpy(decoder->warning, message, sizeof decoder->warning - 1);
}

void on_read(png_structp png, png_bytep target, size_t count) {
  auto* decoder = static_cast<Decoder*>(png_get_io_ptr(png));
  if (count > decoder->size - decoder->position) png_error(png, "the file ends too early");
  std::memcpy(target, decoder->data + decoder->position, count);
  decoder->position += count;
}

// libpng takes what a chunk's header claims before it has seen the data: what no honest file needs is refused here.
constexpr png_alloc_size_t kMaxAllocation = png_alloc_size_t{64} << 20;
png_voidp allocate(png_structp, png_alloc_size_t size) { return size > kMaxAllocation ? nullptr : std::malloc(size); }
void release(png_structp, png_voidp memory) { std::free(memory); }

bool start(Decoder* decoder) {
  decoder->png =
      png_create_read_struct_2(PNG_LIBPNG_VER_STRING, decoder, on_error, on_warning, nullptr, allocate, release);
  if (!decoder->png) return false;
  decoder->info = png_create_info_struct(decoder->png);
  if (!decoder->info) return false;
  if (setjmp(png_jmpbuf(decoder->png))) return false;
  png_set_read_fn(decoder->png, decoder, on_read);
  png_set_user_limits(decoder->png, kMaxPngSide, kMaxPngSide);
  png_set_chunk_malloc_max(decoder->png, kMaxChunk);
  png_set_chunk_cache_max(decoder->png, kMaxChunks);
  png_read_info(decoder->png, decoder->info);
  return true;
}

bool convert_to_rgb(Decoder* decoder) {
  if (setjmp(png_jmpbuf(decoder->png))) return false;
  png_set_strip_16(decoder->png);
  png_set_packing(decoder->png);
  const int type = png_get_color_type(decoder->png, decoder->info);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(decoder->png);
  if (!(type & PNG_COLOR_MASK_COLOR)) {
    png_set_expand_gray_1_2_4_to_8(decoder->png);
    png_set_gray_to_rgb(decoder->png);
  }
  // Expanding a palette turns its transparency into alpha; unless it is wanted, that goes, with real alpha.
  if (!decoder->keep_alpha)
    png_set_strip_alpha(decoder->png);
  else if (png_get_valid(decoder->png, decoder->info, PNG_INFO_tRNS))
    png_set_tRNS_to_alpha(decoder->png);
  png_set_interlace_handling(decoder->png);
  png_read_update_info(decoder->png, decoder->info);
  return true;
}

bool read_rows(Decoder* decoder, png_bytep* rows) {
  if (setjmp(png_jmpbuf(decoder->png))) return false;
  png_read_image(decoder->png, rows);
  png_read_end(decoder->png, decoder->info);
  return true;
}

}  // namespace

namespace {

Png decode(std::span<const std::byte> bytes, std::string_view where_view, bool keep_alpha, bool head_only) {
  const std::string where = printable(where_view, 300);
  if (bytes.size() < 8 || png_sig_cmp(reinterpret_cast<png_const_bytep>(bytes.data()), 0, 8) != 0)
    fail(ErrorCode::io, "{}: expected a PNG file, found {}", where, bytes.empty() ? "an empty one" : "something else");
  const auto decoder = std::make_unique<Decoder>();
  decoder->data = bytes.data();
  decoder->size = bytes.size();
  decoder->keep_alpha = keep_alpha;
  const auto check = [&](bool done) {
    if (!done)
      fail(ErrorCode::io, "{}: expected a readable PNG file, found: {}{}{}", where, printable(decoder->message),
           *decoder->warning ? "; " : "", printable(decoder->warning));
  };
  check(start(decoder.get()));

  Png out;
  out.image.width = png_get_image_width(decoder->png, decoder->info);
  out.image.height = png_get_image_height(decoder->png, decoder->info);
  if (out.image.width * out.image.height > kMaxPngPixels)
    fail(ErrorCode::io, "{}: expected at most {} pixels, found {}×{}", where, kMaxPngPixels, out.image.width,
         out.image.height);
  // Deflate packs at most 1032:1, so a huge picture in a tiny file is refused before memory is taken for it.
  const uint64_t raw = png_get_rowbytes(decoder->png, decoder->info) * static_cast<uint64_t>(out.image.height);
  if (raw / 1100 > bytes.size())
    fail(ErrorCode::io, "{}: expected data of {}×{} pixels, found only {} bytes", where, out.image.width,
         out.image.height, bytes.size());

  const auto read_orientation = [&] {
    png_uint_32 size = 0;
    png_bytep exif = nullptr;
    if (png_get_eXIf_1(decoder->png, decoder->info, &size, &exif) != 0 && exif)
      out.orientation = exif_orientation(std::as_bytes(std::span(exif, size)));
  };
  const auto read_text = [&] {
    png_textp texts = nullptr;
    int count = 0;
    png_get_text(decoder->png, decoder->info, &texts, &count);
    for (int i = 0; i < count; ++i) {
      const png_text& entry = texts[i];
      const bool international = entry.compression >= PNG_ITXT_COMPRESSION_NONE;
      const size_t length = international ? entry.itxt_length : entry.text_length;
      const std::string_view value = entry.text ? std::string_view(entry.text, length) : std::string_view();
      out.text.emplace_back(latin1_to_utf8(entry.key ? entry.key : ""),
                            international && decode_utf8(value) ? std::string(value) : latin1_to_utf8(value));
    }
  };
  if (head_only) {
    read_text();
    read_orientation();
    return out;
  }
  check(convert_to_rgb(decoder.get()));
  out.image.channels = png_get_channels(decoder->png, decoder->info);
  const auto row_bytes = static_cast<size_t>(out.image.width * out.image.channels);
  if (png_get_rowbytes(decoder->png, decoder->info) != row_bytes)
    fail(ErrorCode::internal, "{}: rows of {} bytes, expected {}", where, png_get_rowbytes(decoder->png, decoder->info),
         row_bytes);
  out.image.pixels.resize(row_bytes * static_cast<size_t>(out.image.height));
  std::vector<png_bytep> rows(static_cast<size_t>(out.image.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = out.image.pixels.data() + y * row_bytes;
  check(read_rows(decoder.get(), rows.data()));
  read_orientation();

  read_text();
  return out;
}

}  // namespace

Png decode_png(std::span<const std::byte> bytes, std::string_view where, bool keep_alpha) {
  return decode(bytes, where, keep_alpha, /*head_only=*/false);
}

Png decode_png_head(std::span<const std::byte> bytes, std::string_view where) {
  return decode(bytes, where, /*keep_alpha=*/false, /*head_only=*/true);
}

Png read_png(const std::string& path, bool keep_alpha) {
  const auto file = MappedFile::open(path);
  return decode_png(file->bytes(), path, keep_alpha);
}

}  // namespace easel::io
