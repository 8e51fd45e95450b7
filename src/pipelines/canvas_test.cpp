#include "pipelines/canvas.h"

#include <gtest/gtest.h>

#include <easel/error.h>

namespace easel::pipelines {
namespace {

RgbPicture gradient(int64_t width, int64_t height) {
  RgbPicture out{width, height, {}};
  for (int64_t i = 0; i < width * height * 3; ++i) out.rgb.push_back(static_cast<uint8_t>(i * 7 + i / 31));
  return out;
}

PictureInputs inputs_of(int64_t width, int64_t height) {
  PictureInputs out;
  out.init_image = PictureSource::of(gradient(width, height));
  return out;
}

// White in a rectangle.
std::shared_ptr<const PictureMask> rectangle(int64_t width, int64_t height, int64_t left, int64_t top, int64_t right,
                                             int64_t bottom) {
  PictureMask mask{width, height, std::vector<uint8_t>(static_cast<size_t>(width * height))};
  for (int64_t y = top; y < bottom; ++y)
    for (int64_t x = left; x < right; ++x) mask.values[static_cast<size_t>(y * width + x)] = 255;
  return std::make_shared<const PictureMask>(std::move(mask));
}

Picture drawn(int64_t width, int64_t height, uint8_t value) {
  Picture out;
  out.width = width;
  out.height = height;
  out.rgb.assign(static_cast<size_t>(width * height * 3), value);
  return out;
}

TEST(Canvas, SizesFollowThePicture) {
  using Size = std::pair<int64_t, int64_t>;
  PictureInputs plain = inputs_of(61, 45);
  EXPECT_EQ(Canvas::size_for({}, 0, 0, 512, 768, 8), Size(512, 768));
  EXPECT_EQ(Canvas::size_for(plain, 0, 0, 512, 512, 8), Size(56, 40));
  EXPECT_EQ(Canvas::size_for(plain, 64, 0, 512, 512, 8), Size(64, 40));
  EXPECT_EQ(Canvas::size_for(inputs_of(3, 5), 0, 0, 512, 512, 8), Size(8, 8));
  plain.mask = rectangle(61, 45, 0, 0, 61, 45);
  EXPECT_EQ(Canvas::size_for(plain, 0, 0, 512, 512, 8), Size(64, 48));
  plain.padding_mask_crop = 4;
  EXPECT_EQ(Canvas::size_for(plain, 0, 0, 512, 512, 8), Size(512, 512));
  PictureInputs outer = inputs_of(60, 40);
  outer.outpaint = {8, 0, 12, 1};
  EXPECT_EQ(Canvas::size_for(outer, 0, 0, 512, 512, 8), Size(80, 48));
}

TEST(Canvas, UntouchedPixelsComeBack) {
  PictureInputs inputs = inputs_of(61, 45);
  inputs.mask = rectangle(61, 45, 10, 8, 30, 20);
  inputs.mask_grow = 3;
  inputs.mask_blur = 1;
  Canvas::check(inputs);
  const Canvas canvas(inputs, 64, 48, true);
  const Picture out = canvas.compose(drawn(64, 48, 77));
  const RgbPicture original = gradient(61, 45);
  ASSERT_EQ(out.width, 61);
  ASSERT_EQ(out.height, 45);
  int changed = 0;
  for (int64_t y = 0; y < 45; ++y)
    for (int64_t x = 0; x < 61; ++x)
      for (int64_t c = 0; c < 3; ++c) {
        const auto at = static_cast<size_t>((y * 61 + x) * 3 + c);
        const bool inside = x >= 10 && x < 30 && y >= 8 && y < 20, far = x < 1 || x > 39 || y > 29;
        if (inside) {
          EXPECT_EQ(out.rgb[at], 77) << x << " " << y;
        }
        if (far) {
          EXPECT_EQ(out.rgb[at], original.rgb[at]) << x << " " << y;
        }
        changed += out.rgb[at] != original.rgb[at];
      }
  EXPECT_GT(changed, 3 * 20 * 12);
}

TEST(Canvas, EdgesGoOnBeyondThePicture) {
  const PictureInputs plain = inputs_of(13, 9);
  PictureInputs inputs = plain;
  inputs.outpaint = {3, 0, 0, 7};
  const Canvas canvas(inputs, 16, 16, true);
  const auto pixels = canvas.pixels();
  const RgbPicture original = gradient(13, 9);
  const auto at = [&](int64_t c, int64_t y, int64_t x) {
    return pixels.span<float>()[static_cast<size_t>((c * 16 + y) * 16 + x)];
  };
  const auto value = [&](int64_t c, int64_t y, int64_t x) {
    return 2.0f * (original.rgb[static_cast<size_t>((y * 13 + x) * 3 + c)] / 255.0f) - 1.0f;
  };
  EXPECT_EQ(at(1, 4, 3), value(1, 4, 0));
  EXPECT_EQ(at(1, 4, 0), value(1, 4, 0));
  EXPECT_EQ(at(2, 15, 15), value(2, 8, 12));
  EXPECT_EQ(canvas.masked_pixels().span<float>()[static_cast<size_t>(15 * 16 + 15)], 0);
  const Picture out = canvas.compose(drawn(16, 16, 9));
  EXPECT_EQ(out.width, 16);
  EXPECT_EQ(out.height, 16);
  EXPECT_EQ(out.rgb[0], 9);
  EXPECT_EQ(out.rgb[3 * 3], original.rgb[0]);
  EXPECT_EQ(canvas.latent_mask(8), (std::vector<float>{1, 0, 1, 1}));
}

TEST(Canvas, MasksBecomeLatentMasks) {
  PictureInputs inputs = inputs_of(24, 16);
  inputs.mask = rectangle(24, 16, 8, 0, 16, 16);
  EXPECT_EQ(Canvas(inputs, 24, 16, true).latent_mask(8), (std::vector<float>{0, 1, 0, 0, 1, 0}));
  inputs.mask = rectangle(24, 16, 11, 3, 13, 5);  // between the points that the nearest neighbour sees
  EXPECT_EQ(Canvas(inputs, 24, 16, true).latent_mask(8), (std::vector<float>{0, 1, 0, 0, 0, 0}));
  inputs.differential = true;
  EXPECT_EQ(Canvas(inputs, 24, 16, true).latent_mask(8), (std::vector<float>{0, 4.0f / 64, 0, 0, 0, 0}));
}

TEST(Canvas, ACropIsPutBackAtItsPlace) {
  PictureInputs inputs = inputs_of(90, 60);
  inputs.mask = rectangle(90, 60, 50, 10, 60, 20);
  inputs.padding_mask_crop = 3;
  const Canvas canvas(inputs, 64, 64, false);
  const Picture out = canvas.compose(drawn(64, 64, 200));
  const RgbPicture original = gradient(90, 60);
  ASSERT_EQ(out.rgb.size(), original.rgb.size());
  for (int64_t y = 0; y < 60; ++y)
    for (int64_t x = 0; x < 90; ++x) {
      const auto at = static_cast<size_t>((y * 90 + x) * 3);
      const bool inside = x >= 50 && x < 60 && y >= 10 && y < 20;
      EXPECT_EQ(out.rgb[at], inside ? 200 : original.rgb[at]) << x << " " << y;
    }
}

TEST(Canvas, RefusesWhatDoesNotFit) {
  const auto message = [](PictureInputs inputs) -> std::string {
    try {
      Canvas::check(inputs);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "";
  };
  PictureInputs good = inputs_of(24, 16);
  good.mask = rectangle(24, 16, 8, 0, 16, 16);
  EXPECT_EQ(message(good), "");
  PictureInputs bad = good;
  bad.mask = rectangle(23, 16, 8, 0, 16, 16);
  EXPECT_EQ(message(bad), "--mask: expected 24×16 pixels as --init-image has, found 23×16");
  bad.mask = rectangle(24, 16, 0, 0, 0, 0);
  EXPECT_NE(message(bad).find("--mask: expected white where the picture is to be drawn anew, found none"),
            std::string::npos);
  bad = good;
  bad.mask_grow = -9;
  EXPECT_NE(message(bad).find("after --mask-grow"), std::string::npos);
  bad = good;
  bad.strength = 0;
  EXPECT_NE(message(bad).find("--strength: expected above 0 and up to 1, found 0"), std::string::npos);
  bad = inputs_of(24, 16);
  bad.mask_blur = 2;
  EXPECT_NE(message(bad).find("--mask-blur: expected with --mask or --outpaint"), std::string::npos);
  bad = {};
  bad.strength = 0.5;
  EXPECT_NE(message(bad).find("--strength: expected with --init-image, found none"), std::string::npos);
}

}  // namespace
}  // namespace easel::pipelines
