#include <csetjmp>
#include <cstdio>  // jpeglib.h needs it

#include <jerror.h>
#include <jpeglib.h>

#include <memory>

#include "base/fail.h"
#include "io/exif.h"
#include "io/stored_image.h"

namespace easel::io {

namespace {

// A progressive file of a few kilobytes may hold thousands of scans, each over the whole picture.
constexpr int kMaxScans = 500;

// libjpeg reports errors by longjmp. The functions that set the jump hold no C++ objects, everything lives here.
struct Decoder {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_source_mgr source{};
  jpeg_progress_mgr progress{};
  jmp_buf jump;
  bool created = false;
  char message[JMSG_LENGTH_MAX] = "";

  ~Decoder() {
    if (created) jpeg_destroy_decompress(&jpeg);
  }
};

Decoder* decoder_of(j_common_ptr jpeg) { return static_cast<Decoder*>(jpeg->client_data); }

[[noreturn]] void on_error(j_common_ptr jpeg) {
  Decoder* decoder = decoder_of(jpeg);
  (*jpeg->err->format_message)(jpeg, decoder->message);
  std::longjmp(decoder->jump, 1);
}

void on_message(j_common_ptr, int) {}
void on_output(j_common_ptr) {}
void on_source(j_decompress_ptr) {}

// All bytes were there from the beginning: asked for more, the file ends too early.
boolean on_fill(j_decompress_ptr jpeg) {
  ERREXIT(jpeg, JERR_INPUT_EOF);
  return FALSE;
}

void on_skip(j_decompress_ptr jpeg, long count) {
  if (count <= 0) return;
  if (static_cast<size_t>(count) > jpeg->src->bytes_in_buffer) on_fill(jpeg);
  jpeg->src->next_input_byte += count;
  jpeg->src->bytes_in_buffer -= static_cast<size_t>(count);
}

void on_progress(j_common_ptr jpeg) {
  if (reinterpret_cast<j_decompress_ptr>(jpeg)->input_scan_number > kMaxScans) ERREXIT(jpeg, JERR_BAD_PROGRESSION);
}

bool read_head(Decoder* decoder, const std::byte* data, size_t size) {
  jpeg_decompress_struct& jpeg = decoder->jpeg;
  jpeg.err = jpeg_std_error(&decoder->errors);
  decoder->errors.error_exit = on_error;
  decoder->errors.emit_message = on_message;
  decoder->errors.output_message = on_output;
  jpeg.client_data = decoder;
  if (setjmp(decoder->jump)) return false;
  jpeg_create_decompress(&jpeg);
  decoder->created = true;
  jpeg.client_data = decoder;
  decoder->source.next_input_byte = reinterpret_cast<const JOCTET*>(data);
  decoder->source.bytes_in_buffer = size;
  decoder->source.init_source = on_source;
  decoder->source.fill_input_buffer = on_fill;
  decoder->source.skip_input_data = on_skip;
  decoder->source.resync_to_restart = jpeg_resync_to_restart;
  decoder->source.term_source = on_source;
  jpeg.src = &decoder->source;
  decoder->progress.progress_monitor = on_progress;
  jpeg.progress = &decoder->progress;
  jpeg_save_markers(&jpeg, JPEG_APP0 + 1, 0xffff);  // EXIF
  jpeg_read_header(&jpeg, TRUE);
  return true;
}

bool start(Decoder* decoder) {
  if (setjmp(decoder->jump)) return false;
  jpeg_decompress_struct& jpeg = decoder->jpeg;
  jpeg.out_color_space = jpeg.num_components == 1 ? JCS_GRAYSCALE : jpeg.num_components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&jpeg);
  return true;
}

bool read_row(Decoder* decoder, JSAMPLE* row) {
  if (setjmp(decoder->jump)) return false;
  JSAMPROW rows[] = {row};
  jpeg_read_scanlines(&decoder->jpeg, rows, 1);
  return true;
}

bool finish(Decoder* decoder) {
  if (setjmp(decoder->jump)) return false;
  jpeg_finish_decompress(&decoder->jpeg);
  return true;
}

void to_rgb(const JSAMPLE* from, int components, int64_t width, uint8_t* to) {
  for (int64_t x = 0; x < width; ++x, from += components, to += 3) {
    if (components == 1) {
      to[0] = to[1] = to[2] = from[0];
    } else if (components == 3) {
      for (int c = 0; c < 3; ++c) to[c] = from[c];
    } else {
      // Files of four components hold them inverted (Adobe's convention); then c·(1 − k), rounded as Pillow does.
      const int bright = from[3];
      for (int c = 0; c < 3; ++c) {
        const int product = (255 - from[c]) * bright + 128;
        to[c] = static_cast<uint8_t>(bright - ((product + (product >> 8)) >> 8));
      }
    }
  }
}

}  // namespace

StoredImage decode_jpeg(std::span<const std::byte> bytes, const std::string& where, bool size_only) {
  const auto decoder = std::make_unique<Decoder>();
  const auto check = [&](bool done) {
    if (!done) fail(ErrorCode::io, "{}: expected a readable JPEG file, found: {}", where, printable(decoder->message));
  };
  check(read_head(decoder.get(), bytes.data(), bytes.size()));
  StoredImage out;
  for (auto marker = decoder->jpeg.marker_list; marker; marker = marker->next) {
    const auto data = std::as_bytes(std::span(marker->data, marker->data_length));
    if (data.size() > 6 && out.orientation == 1) out.orientation = exif_orientation(data);
  }
  out.image.width = decoder->jpeg.image_width;
  out.image.height = decoder->jpeg.image_height;
  if (out.image.width > kMaxImageSide || out.image.height > kMaxImageSide ||
      out.image.width * out.image.height > kMaxImagePixels)
    fail(ErrorCode::io, "{}: expected at most {} pixels and {} a side, found {}×{}", where, kMaxImagePixels,
         kMaxImageSide, out.image.width, out.image.height);
  if (size_only) return out;
  const int components = decoder->jpeg.num_components;
  if (components != 1 && components != 3 && components != 4)
    fail(ErrorCode::io, "{}: expected a JPEG file of 1, 3 or 4 components, found {}", where, components);
  check(start(decoder.get()));
  std::vector<JSAMPLE> row(static_cast<size_t>(out.image.width) * static_cast<size_t>(components));
  out.image.pixels.resize(static_cast<size_t>(out.image.width * out.image.height * 3));
  for (int64_t y = 0; y < out.image.height; ++y) {
    check(read_row(decoder.get(), row.data()));
    to_rgb(row.data(), components, out.image.width, out.image.pixels.data() + y * out.image.width * 3);
  }
  check(finish(decoder.get()));
  return out;
}

}  // namespace easel::io
