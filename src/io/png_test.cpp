#include "io/png.h"

#include <gtest/gtest.h>

#include "io/latin1.h"
#include "io/test_folder.h"

namespace easel::io {
namespace {

Image gradient(int64_t width, int64_t height) {
  Image image{width, height, 3, {}};
  for (int64_t i = 0; i < width * height * 3; ++i) image.pixels.push_back(static_cast<uint8_t>(i * 37 + i / 91));
  return image;
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string rejected(const std::string& bytes) {
  return error_of([&] { decode_png(bytes_of(bytes), "p.png"); });
}

uint32_t crc32(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  return ~crc;
}

std::string big_endian(uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
  return out;
}

std::string chunk(const std::string& type, const std::string& data) {
  return big_endian(static_cast<uint32_t>(data.size())) + type + data + big_endian(crc32(type + data));
}

/// A PNG of raw scan lines (each with its filter byte), stored uncompressed.
std::string handmade(uint32_t width, uint32_t height, int depth, int type, const std::string& lines,
                     const std::string& before = "", bool interlaced = false) {
  uint32_t a = 1, b = 0;
  for (const char c : lines) b = (b + (a = (a + static_cast<unsigned char>(c)) % 65521)) % 65521;
  const auto size = static_cast<uint16_t>(lines.size());
  std::string zlib = "\x78\x01\x01";
  zlib += {static_cast<char>(size & 0xff), static_cast<char>(size >> 8)};
  zlib += {static_cast<char>(~size & 0xff), static_cast<char>(~size >> 8 & 0xff)};
  zlib += lines + big_endian(b << 16 | a);
  std::string header = big_endian(width) + big_endian(height);
  header += {static_cast<char>(depth), static_cast<char>(type), 0, 0, static_cast<char>(interlaced)};
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + before + chunk("IDAT", zlib) + chunk("IEND", "");
}

std::vector<uint8_t> pixels(const std::string& png) { return decode_png(bytes_of(png), "p.png").image.pixels; }
using Bytes = std::vector<uint8_t>;
using namespace std::string_literals;

TEST(Png, AlphaWhereItIsWanted) {
  const auto rgba = [](const std::string& png) { return decode_png(bytes_of(png), "p.png", true).image; };
  EXPECT_EQ(rgba(handmade(2, 1, 8, 4, "\0\x10\x00\x20\xff"s)).pixels, (Bytes{16, 16, 16, 0, 32, 32, 32, 255}));
  EXPECT_EQ(rgba(handmade(1, 1, 8, 6, "\0\1\2\3\7"s)).pixels, (Bytes{1, 2, 3, 7}));
  EXPECT_EQ(rgba(handmade(1, 1, 16, 6, "\0\1\xff\2\0\3\0\x80\xff"s)).pixels, (Bytes{1, 2, 3, 128}));
  const std::string palette = chunk("PLTE", "\1\2\3\4\5\6"s);
  EXPECT_EQ(rgba(handmade(2, 1, 1, 3, "\0\x80"s, palette + chunk("tRNS", "\x40"s))).pixels,
            (Bytes{4, 5, 6, 255, 1, 2, 3, 64}));
  // One transparent colour.
  EXPECT_EQ(rgba(handmade(2, 1, 8, 0, "\0\x10\x11"s, chunk("tRNS", "\0\x10"s))).pixels,
            (Bytes{16, 16, 16, 0, 17, 17, 17, 255}));
  EXPECT_EQ(rgba(handmade(1, 1, 8, 2, "\0\1\2\3"s, chunk("tRNS", "\0\1\0\2\0\3"s))).pixels, (Bytes{1, 2, 3, 0}));
  // Nothing to keep: three channels.
  EXPECT_EQ(rgba(handmade(1, 1, 8, 2, "\0\1\2\3"s)).channels, 3);
  const Image image{2, 1, 4, {1, 2, 3, 4, 5, 6, 7, 255}};
  const Image again = rgba(encode_png(image));
  EXPECT_EQ(again.channels, 4);
  EXPECT_EQ(again.pixels, image.pixels);
  EXPECT_EQ(decode_png(bytes_of(encode_png(image)), "p.png").image.pixels, (Bytes{1, 2, 3, 5, 6, 7}));
}

TEST(Png, PixelsAndTextSurviveARoundTrip) {
  TestFolder folder;
  const PngText text = {{"parameters", "a cat\nSteps: 20, Ärger"},
                        {"easel", "{\"prompt\": \"日本語 🎈\"}"},
                        {"Schlüssel", ""},
                        {"controls", "tab\there"},
                        {"easel", "again"}};
  for (const auto& [width, height] : {std::pair<int64_t, int64_t>{1, 1}, {3, 7}, {128, 64}, {257, 5}}) {
    const Image image = gradient(width, height);
    write_png(folder / "a.png", image, text);
    const Png read = read_png(folder / "a.png");
    EXPECT_EQ(read.image.width, width);
    EXPECT_EQ(read.image.height, height);
    EXPECT_EQ(read.image.pixels, image.pixels);
    EXPECT_EQ(read.text, text);
  }
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(Png, ChunksFollowTheText) {
  const std::string latin = encode_png(gradient(2, 2), {{"k", "caf\u00e9"}});
  EXPECT_NE(latin.find("tEXtk\0caf\xe9"s), std::string::npos);
  EXPECT_EQ(latin.find("iTXt"), std::string::npos);
  const std::string wide = encode_png(gradient(2, 2), {{"k", "caf\u00e9 \u2615"}});
  EXPECT_NE(wide.find("iTXtk\0\0\0\0\0caf\u00e9 \u2615"s), std::string::npos);
  EXPECT_EQ(wide.find("tIME"), std::string::npos);
  EXPECT_EQ(wide, encode_png(gradient(2, 2), {{"k", "caf\u00e9 \u2615"}}));
}

TEST(Png, NewFilesNeverReplace) {
  TestFolder folder;
  EXPECT_TRUE(write_png_new(folder / "a.png", gradient(2, 2)));
  const std::string before = read_all(folder / "a.png");
  EXPECT_FALSE(write_png_new(folder / "a.png", gradient(3, 3)));
  EXPECT_EQ(read_all(folder / "a.png"), before);
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_HAS(error_of([&] { write_png(folder / "no/a.png", gradient(2, 2)); }), "cannot be written");
}

TEST(Png, EveryKindBecomesRgb) {
  EXPECT_EQ(pixels(handmade(2, 1, 8, 0, "\0\x10\x20"s)), (Bytes{16, 16, 16, 32, 32, 32}));          // gray
  EXPECT_EQ(pixels(handmade(2, 1, 1, 0, "\0\x40"s)), (Bytes{0, 0, 0, 255, 255, 255}));              // 1-bit gray
  EXPECT_EQ(pixels(handmade(2, 1, 8, 4, "\0\x10\x00\x20\xff"s)), (Bytes{16, 16, 16, 32, 32, 32}));  // gray, alpha
  EXPECT_EQ(pixels(handmade(1, 1, 8, 6, "\0\1\2\3\0"s)), (Bytes{1, 2, 3}));                         // alpha
  EXPECT_EQ(pixels(handmade(1, 1, 16, 2, "\0\1\xff\2\x80\3\0"s)), (Bytes{1, 2, 3}));                // 16 bits
  EXPECT_EQ(pixels(handmade(1, 1, 16, 0, "\0\x7f\xff"s)), (Bytes{127, 127, 127}));                  // 16-bit gray
  const std::string palette = chunk("PLTE", "\1\2\3\4\5\6"s);
  EXPECT_EQ(pixels(handmade(2, 1, 8, 3, "\0\1\0"s, palette)), (Bytes{4, 5, 6, 1, 2, 3}));
  EXPECT_EQ(pixels(handmade(2, 1, 1, 3, "\0\x80"s, palette + chunk("tRNS", "\0"s))), (Bytes{4, 5, 6, 1, 2, 3}));
  EXPECT_EQ(pixels(handmade(1, 1, 8, 0, "\0\x10"s, chunk("tRNS", "\0\x10"s))), (Bytes{16, 16, 16}));
  // Interlaced 2×2: passes 1 (0,0), 6 (1,0), 7 (0,1) (1,1).
  EXPECT_EQ(pixels(handmade(2, 2, 8, 0, "\0\1\0\2\0\3\4"s, "", true)), (Bytes{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4}));
}

TEST(Png, TextOfOtherProgramsIsRead) {
  const Png png =
      decode_png(bytes_of(handmade(1, 1, 8, 0, "\0\1"s,
                                   chunk("tEXt", "a\0caf\xe9"s) + chunk("iTXt", "b\0\0\0de\0Titel\0\xe2\x98\x95"s) +
                                       chunk("iTXt", "c\0\0\0\0\0bad \xff"s) + chunk("zTXt", "d\0\0not deflated"s))),
                 "p.png");
  ASSERT_GE(png.text.size(), 3u);
  EXPECT_EQ(png.text[0], (std::pair<std::string, std::string>{"a", "caf\u00e9"}));
  EXPECT_EQ(png.text[1], (std::pair<std::string, std::string>{"b", "\u2615"}));
  EXPECT_EQ(png.text[2], (std::pair<std::string, std::string>{"c", "bad \u00ff"}));
  EXPECT_EQ(png.image.pixels, (Bytes{1, 1, 1}));
}

TEST(PngBadInput, GivesOneLine) {
  const std::string good = encode_png(gradient(40, 40), {{"k", "v"}});
  EXPECT_HAS(rejected(""), "p.png: expected a PNG file, found an empty one");
  EXPECT_HAS(rejected("GIF89a..........."), "expected a PNG file");
  for (size_t size = 8; size < good.size() - 12; size += 7) EXPECT_HAS(rejected(good.substr(0, size)), "p.png");
  std::string flipped = good;
  flipped[20] ^= 0x40;  // in IHDR
  EXPECT_HAS(rejected(flipped), "p.png");
  EXPECT_HAS(rejected(handmade(0, 1, 8, 0, "\0"s)), "p.png");
  EXPECT_HAS(rejected(handmade(40000, 1, 8, 0, "\0"s)), "width exceeds user limit");
  EXPECT_HAS(rejected(handmade(32768, 32768, 8, 2, "\0"s)), "expected at most 134217728 pixels");
  EXPECT_HAS(rejected(handmade(8192, 8192, 8, 2, "\0"s)), "found only");
  EXPECT_HAS(rejected(handmade(1, 1, 8, 3, "\0\1"s)), "p.png");  // no palette
  EXPECT_HAS(rejected(handmade(1, 1, 3, 0, "\0\1"s)), "p.png");  // no such depth
  TestFolder folder;
  EXPECT_HAS(error_of([&] { read_png(folder / "missing.png"); }), "missing.png: cannot be opened");
  EXPECT_HAS(error_of([&] { read_png(folder.path()); }), "found a folder");
}

TEST(PngBadInput, RefusesWhatItCannotStore) {
  const auto refused = [](const Image& image, const PngText& text) {
    return error_of([&] { encode_png(image, text); }, ErrorCode::invalid_argument);
  };
  EXPECT_HAS(refused({0, 1, 3, {}}, {}), "found 0×1×3");
  EXPECT_HAS(refused({2, 2, 3, Bytes(11)}, {}), "expected 12 bytes of pixels for 2×2, found 11");
  EXPECT_HAS(refused({1, 1, 2, Bytes(2)}, {}), "3 or 4 channels");
  EXPECT_HAS(refused(gradient(1, 1), {{"", "v"}}), "keyword ''");
  EXPECT_HAS(refused(gradient(1, 1), {{std::string(80, 'k'), "v"}}), "keyword");
  EXPECT_HAS(refused(gradient(1, 1), {{"日本", "v"}}), "keyword");
  EXPECT_HAS(refused(gradient(1, 1), {{"k", "a\0b"s}}), "text 'k'");
  EXPECT_HAS(refused(gradient(1, 1), {{"k", "\xff"}}), "text 'k'");
}

TEST(Utf8, OnlyWellFormedTextIsDecoded) {
  EXPECT_EQ(decode_utf8("a\u00e9\u2615\U0001f388"), U"a\u00e9\u2615\U0001f388");
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x98", "\xf0\x9f\x8e"})
    EXPECT_FALSE(decode_utf8(bad)) << bad;
}

}  // namespace
}  // namespace easel::io
