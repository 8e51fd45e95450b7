// From a picture and its mask to what a model sees of them, and from what it draws back to a picture.
#pragma once

#include <optional>
#include <vector>

#include <easel/pipeline.h>

#include "io/image.h"

namespace easel::pipelines {

/// Pixels of a request's picture on the canvas that the model works on.
class Canvas {
 public:
  /// The canvas for a request's picture, given --width and --height or 0, the model's own size, and what sides must be
  /// a multiple of. Without a width and height: the picture's, rounded down for image-to-image (the picture is resized,
  /// as diffusers' VaeImageProcessor does), rounded up for inpainting (its edges go on, and go again); with
  /// padding_mask_crop the model's own.
  static std::pair<int64_t, int64_t> size_for(const PictureInputs& inputs, int64_t width, int64_t height,
                                              int64_t own_width, int64_t own_height, int64_t multiple);
  /// Throws invalid_argument, naming the option, for sizes that do not fit, values out of range and an empty mask.
  /// Reads no pixels of the picture.
  static void check(const PictureInputs& inputs);

  /// Reads the picture and lays it out: resized or, with `extend`, its edges going on to the right and below. Throws
  /// what reading throws, and io if the picture has another size than was said.
  Canvas(const PictureInputs& inputs, int64_t width, int64_t height, bool extend);

  int64_t width() const { return width_; }
  int64_t height() const { return height_; }
  bool masked() const { return !mask_.pixels.empty(); }

  /// [1, 3, H, W] f32, −1 … 1: 2·(v/255) − 1.
  Tensor pixels() const;
  /// The same where the mask is below ½, else 0.
  Tensor masked_pixels() const;
  /// [h·w]: what is drawn anew, one value for `factor`² pixels. The mask at ½ and above, 0 or 1, at the first pixel of
  /// each (nearest neighbour, as diffusers); at any pixel of each where that finds nothing, and for outpainting, whose
  /// margins need not be multiples. differential: the mean.
  std::vector<float> latent_mask(int64_t factor) const;

  /// Another picture of the same scene, of any size, as the canvas shows it: width() × height().
  io::Image laid_out_likewise(io::Image picture) const;

  /// The result: what the model drew, of the canvas's size, laid over the picture by the mask; without a mask itself.
  Picture compose(Picture drawn) const;

 private:
  void crop_to_mask(const PictureInputs& inputs);
  void lay_out(bool extend);

  int64_t width_, height_;
  bool differential_, any_pixel_;
  io::Image original_;                          // of the result's size, where masked
  io::Image cover_;                             // gray, of the result's size: how far the drawn picture covers it
  io::Image picture_, mask_;                    // of the canvas
  std::optional<std::vector<int64_t>> region_;  // left, top, right, bottom of the result that the canvas shows
};

}  // namespace easel::pipelines
