#include "text/bpe.h"

#include <gtest/gtest.h>

namespace easel::text {
namespace {

using Ids = std::vector<int32_t>;

TEST(Bpe, JoinsByRankThenFromTheLeft) {
  const Bpe bpe({{"a", 0}, {"b", 1}, {"a</w>", 2}, {"b</w>", 3}, {"aa", 4}, {"ab", 5}, {"aab", 6}, {"ab</w>", 7}},
                {{"a", "a"}, {"a", "b"}, {"aa", "b"}, {"a", "b</w>"}}, 9, "m");
  const auto ids = [&](const char* word) {
    Ids out;
    bpe.encode(word, out);
    return out;
  };
  EXPECT_EQ(ids(""), Ids{});
  EXPECT_EQ(ids("a"), Ids{2});
  EXPECT_EQ(ids("ab"), Ids{7});
  EXPECT_EQ(ids("aab"), (Ids{4, 3}));      // aa ranks before ab</w>
  EXPECT_EQ(ids("aaaa"), (Ids{4, 0, 2}));  // the last a is another token
  EXPECT_EQ(ids("aabb"), (Ids{6, 3}));
  EXPECT_EQ(ids("aaab"), (Ids{4, 7}));
  EXPECT_EQ(ids("abab"), (Ids{5, 7}));
  EXPECT_EQ(ids("azb"), (Ids{0, 9, 3}));  // no token for z
}

TEST(Bpe, AMergeThatMakesALowerRankGoesFirst) {
  // After (a b) the pair (ab c) has a lower rank than the (a b) further right.
  const Bpe bpe({{"a", 0}, {"b", 1}, {"c", 2}, {"d</w>", 3}, {"ab", 4}, {"abc", 5}, {"bc", 6}, {"ca", 7}, {"b</w>", 8}},
                {{"ab", "c"}, {"a", "b"}, {"c", "a"}}, 9, "m");
  Ids out;
  bpe.encode("abcabd", out);
  EXPECT_EQ(out, (Ids{5, 4, 3}));
}

TEST(Bpe, BytesHaveCharactersAndBack) {
  EXPECT_EQ(byte_characters()['a'], "a");
  EXPECT_EQ(byte_characters()[' '], "Ġ");
  EXPECT_EQ(byte_characters()[0], "Ā");
  EXPECT_EQ(byte_characters()[0xad], "\u0143");
  for (unsigned byte = 0; byte < 256; ++byte)
    EXPECT_EQ(token_bytes(byte_characters()[byte]), std::string(1, static_cast<char>(byte)));
  EXPECT_EQ(token_bytes("cafÃ©"), "café");
  EXPECT_EQ(token_bytes("日本"), "日本");  // stands for no bytes: itself
}

}  // namespace
}  // namespace easel::text
