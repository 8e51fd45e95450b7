// Edges and lines against OpenCV.
#include "io/edges.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include <easel/error.h>

#include "io/json_file.h"

namespace easel::io {
namespace {

const std::string kFolder = EASEL_SOURCE_DIR "/tests/goldens/edges/";

TEST(Canny, EqualsOpenCvToTheBit) {
  const Image picture = read_png(kFolder + "picture.png").image;
  for (const auto& entry : read_json_file(kFolder + "index.json")) {
    const Image found = canny(picture, {entry["low_threshold"], entry["high_threshold"], entry["l2_gradient"]});
    const Image expected = read_png(kFolder + entry["file"].get<std::string>()).image;
    EXPECT_EQ(found.pixels, expected.pixels) << entry.dump();
  }
}

TEST(Canny, SmallPicturesAndWrongOnes) {
  EXPECT_EQ(canny({1, 1, 3, {1, 2, 3}}).pixels, (std::vector<uint8_t>{0, 0, 0}));
  // One bright column in gray: an edge on each side of it, up to both ends.
  Image gray{5, 3, 1, std::vector<uint8_t>(15)};
  for (size_t y = 0; y < 3; ++y) gray.pixels[5 * y + 2] = 255;
  const Image found = canny(gray);
  for (size_t y = 0; y < 3; ++y)
    for (size_t x = 0; x < 5; ++x) EXPECT_EQ(found.pixels[3 * (5 * y + x)], x == 1 || x == 3 ? 255 : 0) << x;
  EXPECT_THROW(canny({0, 1, 3, {}}), Error);
  EXPECT_THROW(canny({1, 1, 2, {1, 2}}), Error);
  EXPECT_THROW(canny({1, 1, 3, {1, 2, 3}}, {-1, 5}), Error);
  EXPECT_THROW(canny({1, 1, 3, {1, 2, 3}}, {NAN, 5}), Error);
}

TEST(Lineart, FollowsOpenCvWithinALevel) {
  const Image picture = read_png(kFolder + "picture.png").image;
  const Image found = lineart(picture), expected = read_png(kFolder + "lineart.png").image;
  ASSERT_EQ(found.pixels.size(), expected.pixels.size());
  int bright = 0;
  for (size_t i = 0; i < found.pixels.size(); ++i) {
    ASSERT_NEAR(found.pixels[i], expected.pixels[i], 1) << i;
    bright += expected.pixels[i] > 100;
  }
  EXPECT_GT(bright, 100);
  EXPECT_THROW(lineart({1, 1, 1, {1}}), Error);
  EXPECT_THROW(lineart(picture, {.sigma = 0, .intensity_threshold = 8}), Error);
  EXPECT_EQ(lineart({1, 1, 3, {1, 2, 3}}).pixels, (std::vector<uint8_t>{0, 0, 0}));
}

}  // namespace
}  // namespace easel::io
