// What a run may begin from besides its prompt: a picture, and which part of it to draw anew.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace easel {

/// 8-bit RGB, rows from the top: rgb[(y * width + x) * 3 + c], 0 … 255.
struct RgbPicture {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;
};

/// A picture whose size is known and whose pixels are read when a run needs them, so that a long list of requests holds
/// none. read() gives a picture of that size; it may throw, which ends the request.
struct PictureSource {
  int64_t width = 0, height = 0;
  std::function<RgbPicture()> read;

  static PictureSource of(RgbPicture picture);
  /// A PNG, JPEG or WebP file, turned as its EXIF orientation says. Throws io at once if its head is not readable.
  static PictureSource file(const std::string& path);
};

/// 255: drawn anew; 0: kept to the bit; between them, what is drawn is laid over what was. values[y * width + x].
struct PictureMask {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> values;

  /// The luma of a picture file, white being drawn anew. Throws io.
  static PictureMask file(const std::string& path);
};

/// Pixels added on each side of a picture.
struct Margins {
  int left = 0, top = 0, right = 0, bottom = 0;
  bool any() const { return left > 0 || top > 0 || right > 0 || bottom > 0; }
};

/// The picture of a request and what is done with it. Without a mask and margins it is image-to-image; with one of
/// them inpainting, which leaves everything else as it was, bit for bit. Networks of 9 input channels see the mask and
/// what is left of the picture, others have the kept part put back at every step. Networks of 8 (InstructPix2Pix) see
/// the whole picture and change it as the prompt says.
struct PictureInputs {
  std::optional<PictureSource> init_image;
  /// Share of the noise that the picture is given, and of the steps that run: above 0, up to 1. None: 0.8, or 1 for
  /// inpainting.
  std::optional<double> strength;
  std::shared_ptr<const PictureMask> mask;  ///< of the picture's size
  int mask_grow = 0;                        ///< pixels by which white grows in all directions; below 0: shrinks
  double mask_blur = 0;                     ///< deviation of a Gaussian over the mask, in pixels
  /// Only the masked part is worked on, with so many pixels around it, at the request's width and height; the result
  /// is put back at its place. (A face in a large picture.)
  std::optional<int> padding_mask_crop;
  /// Grays of the mask say when a place begins to change: the darker, the later and the less.
  bool differential = false;
  Margins outpaint;                   ///< drawn anew, beside what the mask says
  double image_guidance_scale = 1.5;  ///< InstructPix2Pix: how strictly to keep to the picture, at least 1
};

/// High-resolution fix: a picture of the request's size, then one that is larger and begins from it, so that the whole
/// is laid out at a size that the model knows.
struct HighResFix {
  double scale = 1;       ///< of the sides; 1: one pass
  double strength = 0.7;  ///< of the second pass, as PictureInputs::strength
  int steps = 0;          ///< of its schedule; 0: as the first
  std::string upscaler;   ///< "latent" ("": the same): latents, bilinear; "latent_nearest"; "pixel": Lanczos
};

}  // namespace easel
