#include "pipelines/canvas.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/fail.h"
#include "io/resample.h"

namespace easel {

PictureSource PictureSource::of(RgbPicture picture) {
  PictureSource out;
  out.width = picture.width;
  out.height = picture.height;
  out.read = [kept = std::make_shared<const RgbPicture>(std::move(picture))] { return *kept; };
  return out;
}

PictureSource PictureSource::file(const std::string& path) {
  const io::ImageSize size = io::read_image_size(path);
  PictureSource out;
  out.width = size.width;
  out.height = size.height;
  out.read = [path] {
    io::Image image = io::read_image(path);
    return RgbPicture{image.width, image.height, std::move(image.pixels)};
  };
  return out;
}

PictureMask PictureMask::file(const std::string& path) {
  io::Image image = io::to_gray(io::read_image(path));
  return {image.width, image.height, std::move(image.pixels)};
}

namespace pipelines {

namespace {

using io::Image;
using io::Resample;

constexpr int kMaxMargin = 16384;
constexpr uint8_t kHalf = 128;  // ½ of 255 and above

// Copies `from` to `to` with its corner at (left, top), leaving out what lies outside.
void paste(const Image& from, int64_t left, int64_t top, Image& to) {
  const auto channels = static_cast<int64_t>(to.channels);
  const int64_t first = std::max<int64_t>(0, -left), last = std::min(from.width, to.width - left);
  if (first >= last) return;
  for (int64_t y = std::max<int64_t>(0, -top); y < std::min(from.height, to.height - top); ++y)
    std::copy_n(from.pixels.data() + (y * from.width + first) * channels, (last - first) * channels,
                to.pixels.data() + ((y + top) * to.width + left + first) * channels);
}

Image blank(int64_t width, int64_t height, int channels, uint8_t value = 0) {
  Image out{width, height, channels, {}};
  out.pixels.assign(static_cast<size_t>(width * height) * static_cast<size_t>(channels), value);
  return out;
}

Image cropped(const Image& image, int64_t left, int64_t top, int64_t right, int64_t bottom) {
  Image out = blank(right - left, bottom - top, image.channels);
  paste(image, -left, -top, out);
  return out;
}

// More on each side, the edge going on.
Image extended(const Image& image, const Margins& m) {
  Image out = blank(image.width + m.left + m.right, image.height + m.top + m.bottom, image.channels);
  const auto channels = static_cast<size_t>(image.channels);
  for (int64_t y = 0; y < out.height; ++y)
    for (int64_t x = 0; x < out.width; ++x) {
      const int64_t u = std::clamp<int64_t>(x - m.left, 0, image.width - 1),
                    v = std::clamp<int64_t>(y - m.top, 0, image.height - 1);
      std::copy_n(image.pixels.data() + static_cast<size_t>(v * image.width + u) * channels, channels,
                  out.pixels.data() + static_cast<size_t>(y * out.width + x) * channels);
    }
  return out;
}

// As diffusers' resize modes: the largest picture of the same proportions that fits in (fill) or covers (crop) the
// size, in the middle of it; fill goes on with the edges.
struct Fitted {
  int64_t width, height;
};
Fitted fitted(const Image& image, int64_t width, int64_t height, bool cover) {
  const double ratio = static_cast<double>(width) / static_cast<double>(height);
  const double source = static_cast<double>(image.width) / static_cast<double>(image.height);
  const bool by_width = cover ? ratio > source : ratio < source;
  const bool by_height = cover ? ratio <= source : ratio >= source;
  return {std::max<int64_t>(1, by_width ? width : image.width * height / image.height),
          std::max<int64_t>(1, by_height ? height : image.height * width / image.width)};
}

Image resized_to_cover(const Image& image, int64_t width, int64_t height) {
  const Fitted size = fitted(image, width, height, true);
  Image out = blank(width, height, image.channels);
  paste(io::resize(image, size.width, size.height, Resample::lanczos), width / 2 - size.width / 2,
        height / 2 - size.height / 2, out);
  return out;
}

Image resized_to_fill(const Image& image, int64_t width, int64_t height) {
  const Fitted size = fitted(image, width, height, false);
  const Image middle = io::resize(image, size.width, size.height, Resample::lanczos);
  const int64_t left = width / 2 - size.width / 2, top = height / 2 - size.height / 2;
  Image out = blank(width, height, image.channels);
  paste(middle, left, top, out);
  const auto w = static_cast<double>(middle.width), h = static_cast<double>(middle.height);
  if (size.width == width && top > 0) {
    paste(io::resize(middle, width, top, Resample::bicubic, {0, 0, w, 0}), 0, 0, out);
    paste(io::resize(middle, width, top, Resample::bicubic, {0, h, w, h}), 0, top + size.height, out);
  } else if (size.height == height && left > 0) {
    paste(io::resize(middle, left, height, Resample::bicubic, {0, 0, 0, h}), 0, 0, out);
    paste(io::resize(middle, left, height, Resample::bicubic, {w, 0, w, h}), left + size.width, 0, out);
  }
  return out;
}

// The part of the picture around all of the mask that is not black, with `pad` more on each side and then widened to
// the proportions of width × height as far as the picture goes. VaeImageProcessor.get_crop_region of diffusers.
std::vector<int64_t> crop_region(const Image& mask, int64_t width, int64_t height, int pad) {
  int64_t x1 = mask.width, y1 = mask.height, x2 = 0, y2 = 0;
  for (int64_t y = 0; y < mask.height; ++y)
    for (int64_t x = 0; x < mask.width; ++x)
      if (mask.pixels[static_cast<size_t>(y * mask.width + x)] != 0) {
        x1 = std::min(x1, x), x2 = std::max(x2, x + 1);
        y1 = std::min(y1, y), y2 = std::max(y2, y + 1);
      }
  x1 = std::max<int64_t>(x1 - pad, 0), x2 = std::min(x2 + pad, mask.width);
  y1 = std::max<int64_t>(y1 - pad, 0), y2 = std::min(y2 + pad, mask.height);
  const auto widen = [](int64_t& low, int64_t& high, double wanted, int64_t limit) {
    const auto more = static_cast<int64_t>(wanted - static_cast<double>(high - low));
    low -= more / 2;
    high += more - more / 2;
    if (high >= limit) {
      low -= high - limit;
      high = limit;
    }
    if (low < 0) {
      high -= low;
      low = 0;
    }
    high = std::min(high, limit);
  };
  const double wanted = static_cast<double>(width) / static_cast<double>(height);
  if (static_cast<double>(x2 - x1) / static_cast<double>(y2 - y1) > wanted)
    widen(y1, y2, static_cast<double>(x2 - x1) / wanted, mask.height);
  else
    widen(x1, x2, static_cast<double>(y2 - y1) * wanted, mask.width);
  return {x1, y1, x2, y2};
}

bool inpaints(const PictureInputs& inputs) { return inputs.mask || inputs.outpaint.any(); }

// Gray, of the picture with its margins: white there, then what the request gives.
Image whole_mask(const PictureInputs& inputs) {
  Image mask = blank(inputs.init_image->width, inputs.init_image->height, 1);
  if (inputs.mask) mask.pixels = inputs.mask->values;
  const Margins& m = inputs.outpaint;
  if (m.any()) {
    Image larger = blank(mask.width + m.left + m.right, mask.height + m.top + m.bottom, 1, 255);
    paste(mask, m.left, m.top, larger);
    mask = std::move(larger);
  }
  return io::gaussian_blur(io::grow(std::move(mask), inputs.mask_grow), inputs.mask_blur);
}

}  // namespace

std::pair<int64_t, int64_t> Canvas::size_for(const PictureInputs& inputs, int64_t width, int64_t height,
                                             int64_t own_width, int64_t own_height, int64_t multiple) {
  if (!inputs.init_image) return {width != 0 ? width : own_width, height != 0 ? height : own_height};
  const auto rounded = [&](int64_t side) {
    return (inpaints(inputs) ? side + multiple - 1 : std::max(side, multiple)) / multiple * multiple;
  };
  const Margins& m = inputs.outpaint;
  const bool crop = inputs.padding_mask_crop.has_value();
  const int64_t w = crop ? own_width : rounded(inputs.init_image->width + m.left + m.right);
  const int64_t h = crop ? own_height : rounded(inputs.init_image->height + m.top + m.bottom);
  return {width != 0 ? width : w, height != 0 ? height : h};
}

void Canvas::check(const PictureInputs& inputs) {
  const auto check_range = [](const char* option, double value, double min, double max) {
    if (!(value >= min && value <= max))
      fail(ErrorCode::invalid_argument, "--{}: expected {} to {}, found {}", option, min, max, value);
  };
  if (!inputs.init_image) {
    const char* alone = inputs.mask                ? "--mask"
                        : inputs.outpaint.any()    ? "--outpaint"
                        : inputs.strength          ? "--strength"
                        : inputs.padding_mask_crop ? "--padding-mask-crop"
                                                   : nullptr;
    if (alone) fail(ErrorCode::invalid_argument, "{}: expected with --init-image, found none", alone);
    return;
  }
  const PictureSource& picture = *inputs.init_image;
  if (picture.width < 1 || picture.height < 1 || picture.width > io::kMaxImageSide ||
      picture.height > io::kMaxImageSide)
    fail(ErrorCode::invalid_argument, "--init-image: expected 1 to {} pixels a side, found {}×{}", io::kMaxImageSide,
         picture.width, picture.height);
  if (inputs.strength && !(*inputs.strength > 0 && *inputs.strength <= 1))
    fail(ErrorCode::invalid_argument, "--strength: expected above 0 and up to 1, found {}", *inputs.strength);
  check_range("mask-grow", inputs.mask_grow, -1000, 1000);
  check_range("mask-blur", inputs.mask_blur, 0, 1000);
  if (inputs.padding_mask_crop) check_range("padding-mask-crop", *inputs.padding_mask_crop, 0, kMaxMargin);
  for (const int side : {inputs.outpaint.left, inputs.outpaint.top, inputs.outpaint.right, inputs.outpaint.bottom})
    check_range("outpaint", side, 0, kMaxMargin);
  check_range("image-guidance-scale", inputs.image_guidance_scale, 0, 1e6);
  if (inputs.mask && (inputs.mask->width != picture.width || inputs.mask->height != picture.height ||
                      inputs.mask->values.size() != static_cast<size_t>(picture.width * picture.height)))
    fail(ErrorCode::invalid_argument, "--mask: expected {}×{} pixels as --init-image has, found {}×{}", picture.width,
         picture.height, inputs.mask->width, inputs.mask->height);
  if (!inpaints(inputs)) {
    const char* alone = inputs.mask_grow != 0      ? "--mask-grow"
                        : inputs.mask_blur > 0     ? "--mask-blur"
                        : inputs.padding_mask_crop ? "--padding-mask-crop"
                        : inputs.differential      ? "--differential"
                                                   : nullptr;
    if (alone) fail(ErrorCode::invalid_argument, "{}: expected with --mask or --outpaint, found neither", alone);
    return;
  }
  const Image mask = whole_mask(inputs);
  const uint8_t least = inputs.differential ? 1 : kHalf;
  if (std::none_of(mask.pixels.begin(), mask.pixels.end(), [&](uint8_t value) { return value >= least; }))
    fail(ErrorCode::invalid_argument,
         "--mask: expected white where the picture is to be drawn anew, found none{}; alpha does not count",
         inputs.mask_grow < 0   ? " after --mask-grow"
         : inputs.mask_blur > 0 ? " after --mask-blur"
                                : "");
}

Canvas::Canvas(const PictureInputs& inputs, int64_t width, int64_t height, bool extend)
    : width_(width), height_(height), differential_(inputs.differential), any_pixel_(inputs.outpaint.any()) {
  RgbPicture read = inputs.init_image->read();
  if (read.width != inputs.init_image->width || read.height != inputs.init_image->height ||
      read.rgb.size() != static_cast<size_t>(read.width * read.height * 3))
    fail(ErrorCode::io, "--init-image: expected the picture of {}×{} that it was at first, found {}×{}",
         inputs.init_image->width, inputs.init_image->height, read.width, read.height);
  picture_ = Image{read.width, read.height, 3, std::move(read.rgb)};
  if (!inpaints(inputs)) {
    picture_ = io::resize(picture_, width, height, Resample::lanczos);
    return;
  }
  if (inputs.outpaint.any()) picture_ = extended(picture_, inputs.outpaint);
  mask_ = whole_mask(inputs);
  if (inputs.padding_mask_crop)
    crop_to_mask(inputs);
  else
    lay_out(extend);
  if (differential_)
    for (uint8_t& value : cover_.pixels) value = value > 0 ? 255 : 0;
}

void Canvas::crop_to_mask(const PictureInputs& inputs) {
  original_ = picture_;
  cover_ = mask_;
  region_ = crop_region(mask_, width_, height_, *inputs.padding_mask_crop);
  const auto& r = *region_;
  picture_ = resized_to_fill(cropped(picture_, r[0], r[1], r[2], r[3]), width_, height_);
  mask_ = resized_to_fill(cropped(mask_, r[0], r[1], r[2], r[3]), width_, height_);
}

void Canvas::lay_out(bool extend) {
  if (!extend) {
    picture_ = io::resize(picture_, width_, height_, Resample::lanczos);
    mask_ = io::resize(mask_, width_, height_, Resample::lanczos);
  }
  original_ = picture_;
  cover_ = mask_;
  const Margins more{0, 0, static_cast<int>(width_ - picture_.width), static_cast<int>(height_ - picture_.height)};
  if (!more.any()) return;
  picture_ = extended(picture_, more);
  mask_ = extended(mask_, more);
}

Image Canvas::laid_out_likewise(Image picture) const {
  if (!masked()) return io::resize(picture, width_, height_, Resample::lanczos);
  picture = io::resize(picture, original_.width, original_.height, Resample::lanczos);
  if (region_) {
    const auto& r = *region_;
    return resized_to_fill(cropped(picture, r[0], r[1], r[2], r[3]), width_, height_);
  }
  const Margins more{0, 0, static_cast<int>(width_ - picture.width), static_cast<int>(height_ - picture.height)};
  return more.any() ? extended(picture, more) : picture;
}

Tensor Canvas::pixels() const {
  Tensor out = Tensor::empty(DType::f32, {1, 3, height_, width_});
  const auto values = out.span<float>();
  const size_t plane = values.size() / 3;
  for (size_t p = 0; p < plane; ++p)
    for (size_t c = 0; c < 3; ++c)
      values[c * plane + p] = 2.0f * (static_cast<float>(picture_.pixels[3 * p + c]) / 255.0f) - 1.0f;
  return out;
}

Tensor Canvas::masked_pixels() const {
  Tensor out = pixels();
  const auto values = out.span<float>();
  const size_t plane = values.size() / 3;
  for (size_t j = 0; j < values.size(); ++j)
    if (mask_.pixels[j % plane] >= kHalf) values[j] = 0;
  return out;
}

std::vector<float> Canvas::latent_mask(int64_t factor) const {
  const int64_t h = height_ / factor, w = width_ / factor;
  const auto at = [&](int64_t y, int64_t x) { return mask_.pixels[static_cast<size_t>(y * width_ + x)]; };
  std::vector<float> out(static_cast<size_t>(h * w)), any(out.size());
  for (int64_t y = 0; y < h; ++y)
    for (int64_t x = 0; x < w; ++x) {
      int64_t sum = 0;
      uint8_t most = 0;
      for (int64_t v = y * factor; v < (y + 1) * factor; ++v)
        for (int64_t u = x * factor; u < (x + 1) * factor; ++u) {
          sum += at(v, u);
          most = std::max(most, at(v, u));
        }
      const auto k = static_cast<size_t>(y * w + x);
      any[k] = most >= kHalf ? 1.0f : 0.0f;
      out[k] = differential_ ? static_cast<float>(static_cast<double>(sum) / static_cast<double>(255 * factor * factor))
                             : (at(y * factor, x * factor) >= kHalf ? 1.0f : 0.0f);
    }
  const bool found = std::any_of(out.begin(), out.end(), [](float m) { return m > 0; });
  return differential_ || (found && !any_pixel_) ? out : any;
}

Picture Canvas::compose(Picture drawn) const {
  if (!masked()) return drawn;
  Image image{drawn.width, drawn.height, 3, std::move(drawn.rgb)};
  if (region_) {
    const auto& r = *region_;
    Image placed = original_;
    paste(resized_to_cover(image, r[2] - r[0], r[3] - r[1]), r[0], r[1], placed);
    image = std::move(placed);
  } else if (image.width != original_.width || image.height != original_.height) {
    image = cropped(image, 0, 0, original_.width, original_.height);
  }
  for (size_t p = 0; p < cover_.pixels.size(); ++p) {
    const int m = cover_.pixels[p];
    for (size_t j = 3 * p; j < 3 * p + 3; ++j)
      image.pixels[j] = static_cast<uint8_t>((image.pixels[j] * m + original_.pixels[j] * (255 - m) + 127) / 255);
  }
  drawn.width = image.width;
  drawn.height = image.height;
  drawn.rgb = std::move(image.pixels);
  return drawn;
}

}  // namespace pipelines

}  // namespace easel
