// Pictures as CLIP's image encoder is given them.
#pragma once

#include <easel/tensor.h>

#include "io/image.h"

namespace easel::pipelines {

/// The shorter side becomes `size` pixels (bicubic on 8-bit samples, to the bit as Pillow does), the middle square is
/// cut out, and samples become (v / 255 − mean) / deviation with the means and deviations of CLIP's training pictures.
/// image: RGB → [1, 3, size, size] f32. transformers' CLIPImageProcessor(size, crop_size) with Pillow, to the bit.
/// Throws invalid_argument for sizes that resize() does not take.
Tensor clip_pixel_values(const io::Image& image, int64_t size);

}  // namespace easel::pipelines
