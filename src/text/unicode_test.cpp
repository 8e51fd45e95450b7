#include "text/unicode.h"

#include <gtest/gtest.h>

#include "text/regex.h"

namespace easel::text {
namespace {

TEST(Unicode, FindsTheFirstBadByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("a\u00e9\u2615\U0001f388\U0010ffff"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2u);
  EXPECT_EQ(find_invalid_utf8("\xc0\x80"), 0u);
  EXPECT_EQ(find_invalid_utf8("\u2615\xe0\x9f\xbf"), 3u);
  EXPECT_EQ(find_invalid_utf8("\xed\xa0\x80"), 0u);
  EXPECT_EQ(find_invalid_utf8("\xf0\x8f\xbf\xbf"), 0u);
  EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0u);
  EXPECT_EQ(find_invalid_utf8("a\xf0\x9f\x8e"), 1u);
}

TEST(Unicode, CodePointsGoThereAndBack) {
  for (const char32_t point :
       {U'\0', U'\x7f', U'\x80', U'\u07ff', U'\u0800', U'\uffff', U'\U00010000', U'\U0010ffff'}) {
    std::string text;
    append_code_point(text, point);
    size_t position = 0;
    EXPECT_EQ(next_code_point(text, position), point);
    EXPECT_EQ(position, text.size());
  }
}

TEST(Unicode, LowercaseLooksAtOneCharacter) {
  EXPECT_EQ(lowercase("ABC \u00c4\u00d6 \u1e9e"), "abc \u00e4\u00f6 \u00df");
  EXPECT_EQ(lowercase("\u0130"), "i\u0307");
  EXPECT_EQ(lowercase("\u039f\u03a3"), "\u03bf\u03c3");  // no final form
  EXPECT_EQ(lowercase("\u01c5"), "\u01c6");
  EXPECT_EQ(lowercase("\ua7dc\U00010d51"), "\u019b\U00010d71");  // Unicode 16
}

TEST(Unicode, Composes) {
  EXPECT_EQ(nfc("cafe\u0301"), "caf\u00e9");
  EXPECT_EQ(nfc("\u212b"), "\u00c5");
  EXPECT_EQ(nfc("\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093c");                        // excluded from composition
  EXPECT_EQ(nfc("x\u0301\u0316"), "x\u0316\u0301");                // marks in order
  EXPECT_EQ(nfc("x\u0301\U00010eff"), "x\u0301\U00010eff");        // but not those newer than Unicode 9
  EXPECT_EQ(nfc("\U00011935\U00011930"), "\U00011935\U00011930");  // composes since Unicode 13
  EXPECT_EQ(nfc("e\u0301\U00010effe\u0301"), "\u00e9\U00010eff\u00e9");
  EXPECT_EQ(nfc(std::string("a\0\u00e9", 4)), std::string("a\0\u00e9", 4));
}

TEST(Unicode, SpacesAreThoseOfUnicode) {
  int count = 0;
  for (char32_t point = 0; point < 0x110000; ++point) count += is_space(point);
  EXPECT_EQ(count, 25);
  EXPECT_FALSE(is_space(0x180e));
  EXPECT_FALSE(is_space(0x200b));
  EXPECT_FALSE(is_space(0x1c));
}

TEST(Unicode, BrokenPartsBecomeReplacementCharacters) {
  EXPECT_EQ(utf8_lossy("a\xff\xfe z"), "a\ufffd\ufffd z");
  EXPECT_EQ(utf8_lossy("\xf0\x9f\x8e"), "\ufffd");  // one maximal part
  EXPECT_EQ(utf8_lossy("\xe2\x98 \x95"), "\ufffd \ufffd");
  EXPECT_EQ(utf8_lossy("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");
  EXPECT_EQ(utf8_lossy("\u2615"), "\u2615");
}

TEST(Regex, FindsAllFromTheLeft) {
  const Regex regex("[\\p{L}]+|[\\p{N}]");
  EXPECT_EQ(regex.find_all("ab 12 é!"), (std::vector<std::string_view>{"ab", "1", "2", "é"}));
  EXPECT_TRUE(regex.find_all("").empty());
}

}  // namespace
}  // namespace easel::text
