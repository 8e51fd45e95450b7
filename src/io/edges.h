// Pictures of edges and lines, as control networks take them.
#pragma once

#include "io/png.h"

namespace easel::io {

struct CannyOptions {
  double low_threshold = 100, high_threshold = 200;  ///< of the gradient; the smaller one is the low one
  bool l2_gradient = false;                          ///< √(dx² + dy²) instead of |dx| + |dy|
};

/// Edges white on black, 3 equal channels, to the bit as cv2.Canny(picture, low, high, L2gradient=…) with its aperture
/// of 3: Sobel gradients (the edge pixels go on outside), of each pixel those of the channel where they are largest;
/// points that are largest across the edge, in one of four directions; of these, the ones above the high threshold and
/// what hangs together with them above the low one, diagonally too. picture: 1 or 3 channels. Canny 1986.
/// Throws invalid_argument for other channels, an empty picture, or thresholds that are negative or no numbers.
Image canny(const Image& picture, const CannyOptions& options = {});

struct LineartOptions {
  double sigma = 6;                ///< of the blur, in pixels
  double intensity_threshold = 8;  ///< strokes lighter than this do not set the scale
};

/// Lines white on black, 3 equal channels: how much darker than its surroundings a pixel is, by the "standard lineart"
/// of control networks: max(0, min over channels of blur(picture) − picture), scaled so that the median of those above
/// the threshold (at least 16) becomes 127. picture: 3 channels. Throws invalid_argument for other channels, an empty
/// picture, sigma outside 0.1 … 100.
Image lineart(const Image& picture, const LineartOptions& options = {});

}  // namespace easel::io
