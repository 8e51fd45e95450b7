// Resizing, blurring and growing 8-bit pictures, to the bit as Pillow does.
#pragma once

#include "io/image.h"

namespace easel::io {

enum class Resample {
  bicubic,  ///< Keys 1981, a = −½; support 2
  lanczos   ///< sinc(x)·sinc(x/3); support 3
};

/// A part of a picture, in pixels from its top left corner; ends may lie between pixels, or together.
struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
};

/// The picture, or the part of it in `box`, at another size: first along rows, then along columns, each sum over the
/// filter widened by the factor of shrinking, with coefficients of 22 bits after the point, rounded to 8 bits and
/// clamped. Pillow's Image.resize(size, resample, box) for modes RGB and L.
/// Throws invalid_argument for a size outside 1 … kMaxImageSide or a box that leaves the picture.
Image resize(const Image& image, int64_t width, int64_t height, Resample filter);
Image resize(const Image& image, int64_t width, int64_t height, Resample filter, const Box& box);

/// Three box blurs that make up a Gaussian of this standard deviation in pixels; the edge pixels go on outside.
/// Pillow's ImageFilter.GaussianBlur(radius). Gwosdek et al. 2011. Throws invalid_argument unless 0 ≤ radius ≤ 1000.
Image gaussian_blur(Image image, double radius);

/// The largest sample (pixels > 0) or the smallest (< 0) in the square of |pixels| in each direction; the edge pixels
/// go on outside. Pillow's ImageFilter.MaxFilter(2·pixels + 1) and MinFilter.
Image grow(Image image, int pixels);

/// Luma of an RGB picture, 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point: Pillow's convert("L"). Gray stays itself.
Image to_gray(const Image& image);

}  // namespace easel::io
