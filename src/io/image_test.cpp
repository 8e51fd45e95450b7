// Pictures of every kind, and what is done to them, against Pillow (tests/goldens/make_images.py).
#include "io/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "io/exif.h"
#include "io/png.h"
#include "io/resample.h"
#include "io/safetensors.h"
#include "io/test_folder.h"

namespace easel::io {
namespace {

const std::string kFolder = EASEL_SOURCE_DIR "/tests/goldens/images/";

Image golden(const std::string& name) {
  static const SafetensorsFile file = SafetensorsFile::open(kFolder + "expected.safetensors");
  const Tensor t = file.tensor(name);
  const auto* values = reinterpret_cast<const uint8_t*>(t.raw());
  return {t.dim(1), t.dim(0), static_cast<int>(t.dim(2)), {values, values + t.numel()}};
}

void expect_equal(const Image& found, const Image& expected, const std::string& what, int tolerance = 0) {
  ASSERT_EQ(found.width, expected.width) << what;
  ASSERT_EQ(found.height, expected.height) << what;
  ASSERT_EQ(found.channels, expected.channels) << what;
  ASSERT_EQ(found.pixels.size(), expected.pixels.size()) << what;
  int worst = 0;
  for (size_t i = 0; i < found.pixels.size(); ++i)
    worst = std::max(worst, std::abs(int{found.pixels[i]} - int{expected.pixels[i]}));
  EXPECT_LE(worst, tolerance) << what;
}

std::string bytes_of_file(const std::string& name) {
  std::ifstream in(kFolder + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Image decode(const std::string& bytes) {
  return decode_image(std::as_bytes(std::span(bytes.data(), bytes.size())), "p");
}

TEST(Images, EveryKindIsReadAsPillowDoes) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    const std::string name = entry.path().filename();
    if (name.ends_with(".safetensors")) continue;
    ++files;
    const Image expected = golden(name);
    expect_equal(read_image(kFolder + name), expected, name);
    const ImageSize size = read_image_size(kFolder + name);
    EXPECT_EQ(size.width, expected.width) << name;
    EXPECT_EQ(size.height, expected.height) << name;
  }
  EXPECT_GE(files, 24);
}

TEST(Images, OrientationsDiffer) {
  for (int orientation = 2; orientation <= 8; ++orientation)
    EXPECT_NE(golden("orientation_" + std::to_string(orientation) + ".jpg").pixels, golden("orientation_1.jpg").pixels);
}

TEST(Images, TruncatedFilesAreRefused) {
  for (const char* name : {"plain.png", "plain.jpg", "progressive.jpg", "cmyk.jpg", "lossy.webp", "alpha.webp"}) {
    const std::string whole = bytes_of_file(name);
    for (size_t size = 0; size + 13 < whole.size(); size += 1 + size / 16) {
      const std::string error = error_of([&] { decode(whole.substr(0, size)); });
      EXPECT_NE(error.find("p: expected "), std::string::npos) << name << " cut to " << size << ": " << error;
    }
  }
}

TEST(Images, ChangedBytesNeverCrash) {
  for (const char* name : {"plain.jpg", "progressive.jpg", "gray.jpg", "lossy.webp", "orientation_6.jpg"}) {
    const std::string whole = bytes_of_file(name);
    for (size_t at = 0; at < whole.size(); ++at) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ 0x5a);
      try {
        decode(changed);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::io) << error.what();
      }
    }
  }
}

TEST(Images, HugeOnesAreRefusedBeforeMemoryIsTaken) {
  std::string jpeg = bytes_of_file("plain.jpg");
  const size_t frame = jpeg.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  for (size_t i = 5; i < 9; ++i) jpeg[frame + i] = '\x7f';
  const std::string error = error_of([&] { decode(jpeg); });
  EXPECT_NE(error.find("expected at most 134217728 pixels and 32768 a side, found 32639×32639"), std::string::npos)
      << error;
}

TEST(Images, OtherFilesAreNamed) {
  EXPECT_NE(error_of([] { decode("GIF89a"); }).find("expected a PNG, JPEG or WebP picture, found something else"),
            std::string::npos);
  EXPECT_NE(error_of([] { decode(""); }).find("found an empty file"), std::string::npos);
}

TEST(Exif, NonsenseMeansUpright) {
  const auto orientation = [](const std::string& bytes) {
    return exif_orientation(std::as_bytes(std::span(bytes.data(), bytes.size())));
  };
  using namespace std::string_literals;
  const std::string good = "MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"s;
  EXPECT_EQ(orientation(good), 6);
  EXPECT_EQ(orientation("Exif\0\0"s + good), 6);
  for (size_t size = 0; size < 20; ++size) EXPECT_EQ(orientation(good.substr(0, size)), 1);
  EXPECT_EQ(orientation("MM\0\x2a\xff\xff\xff\xff"s), 1);
  EXPECT_EQ(orientation("MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0\0\0"s), 1);
}

TEST(Resample, EqualsPillowToTheBit) {
  const Image source = golden("plain.png");
  for (const char* name : {"larger", "smaller", "wider", "taller", "mixed", "one"}) {
    const Image lanczos = golden(std::string("resize.lanczos.") + name);
    expect_equal(resize(source, lanczos.width, lanczos.height, Resample::lanczos), lanczos, name);
    const Image bicubic = golden(std::string("resize.bicubic.") + name);
    expect_equal(resize(source, bicubic.width, bicubic.height, Resample::bicubic), bicubic, name);
  }
  expect_equal(resize(source, 20, 14, Resample::lanczos, {3.25, 2, 30, 20.5}), golden("resize.box"), "box");
  expect_equal(resize(source, 37, 5, Resample::bicubic, {0, 0, 37, 0}), golden("resize.top_edge"), "top edge");
  expect_equal(resize(source, 4, 23, Resample::bicubic, {37, 0, 37, 23}), golden("resize.right_edge"), "right edge");
  EXPECT_EQ(resize(source, 37, 23, Resample::lanczos).pixels, source.pixels);
  EXPECT_THROW(resize(source, 0, 5, Resample::lanczos), Error);
  EXPECT_THROW(resize(source, 5, 5, Resample::lanczos, {0, 0, 38, 5}), Error);
}

TEST(Resample, BlurAndGrowEqualPillow) {
  const Image source = golden("plain.png"), gray = to_gray(source);
  expect_equal(gray, golden("gray"), "gray");
  for (const char* radius : {"0.5", "1", "2.5", "4", "20"})
    expect_equal(gaussian_blur(gray, std::atof(radius)), golden(std::string("blur.") + radius), radius);
  expect_equal(gaussian_blur(source, 3), golden("blur.rgb"), "rgb");
  EXPECT_EQ(gaussian_blur(gray, 0).pixels, gray.pixels);
  for (const int pixels : {1, 3, -1, -3}) {
    const std::string name = "grow." + std::to_string(pixels);
    expect_equal(grow(gray, pixels), golden(name), name);
  }
}

}  // namespace
}  // namespace easel::io
