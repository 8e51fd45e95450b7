#include "text/clip_tokenizer.h"

#include <gtest/gtest.h>

#include <easel/error.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "text/unicode.h"

namespace easel::text {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;
const std::string kFolder = std::string(EASEL_SOURCE_DIR) + "/tests/goldens/text";

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::stringstream out;
  out << file.rdbuf();
  return out.str();
}

const json& golden() {
  static const json value = json::parse(read(kFolder + "/golden.json"));
  return value;
}

ClipTokenizer tokenizer(const std::string& name) {
  ClipTokenizerFiles files;
  files.vocab_json = read(kFolder + "/vocab.json");
  files.merges_txt = read(kFolder + "/merges.txt");
  const json& given = golden()["folders"][name]["files"];
  const auto file = [&](const char* key) {
    return given.contains(key) ? ClipTokenizerFiles::Contents(given[key].dump()) : std::nullopt;
  };
  files.tokenizer_config_json = file("tokenizer_config.json");
  files.special_tokens_map_json = file("special_tokens_map.json");
  files.added_tokens_json = file("added_tokens.json");
  return ClipTokenizer::parse(files, name);
}

uint64_t fnv(const std::vector<uint64_t>& values) {
  uint64_t state = 0xcbf29ce484222325u;
  for (const uint64_t value : values) state = (state ^ value) * 0x100000001b3u;
  return state;
}

std::string hex(uint64_t value) {
  char out[17];
  std::snprintf(out, sizeof out, "%016llx", static_cast<unsigned long long>(value));
  return out;
}

TEST(ClipTokenizer, EqualsTransformersOnTheCorpus) {
  const json& corpus = golden()["corpus"];
  ASSERT_GT(corpus.size(), 200u);
  for (const auto& [name, entry] : golden()["folders"].items()) {
    const ClipTokenizer clip = tokenizer(name);
    EXPECT_EQ(clip.max_length(), entry["max_length"]) << name;
    EXPECT_EQ((Ids{clip.bos_id(), clip.eos_id(), clip.pad_id(), clip.unk_id()}), entry["special"].get<Ids>()) << name;
    for (size_t i = 0; i < corpus.size(); ++i) {
      const auto text = corpus[i].get<std::string>();
      const std::string key = std::to_string(i);
      const json& wanted = entry["differing"].contains(key) ? entry["differing"][key] : golden()["ids"][i];
      EXPECT_EQ(clip.encode(text), wanted.get<Ids>()) << name << ": " << corpus[i];
      const auto encoded = clip.encode_padded(text);
      EXPECT_EQ(encoded.ids.size(), static_cast<size_t>(clip.max_length()));
      EXPECT_EQ(hex(fnv({encoded.ids.begin(), encoded.ids.end()})), entry["padded"][i]) << name << ": " << corpus[i];
      EXPECT_EQ(encoded.cut_text, entry["cut"].value(key, "")) << name << ": " << corpus[i];
      EXPECT_EQ(encoded.truncated, wanted.size() + 2 > static_cast<size_t>(clip.max_length()));
    }
  }
}

TEST(ClipTokenizer, EqualsTransformersOnEveryCodePoint) {
  const ClipTokenizer clip = tokenizer("sd1");
  const auto wanted = golden()["folders"]["sd1"]["code_points"].get<std::string>();
  ASSERT_EQ(wanted.size(), 0x110u * 16);
  for (char32_t block = 0; block < 0x110; ++block) {
    std::vector<uint64_t> rows;
    for (char32_t row = block * 16; row < block * 16 + 16; ++row) {
      std::string text;
      for (char32_t point = row * 256; point < row * 256 + 256; ++point) {
        if (point >= 0xd800 && point < 0xe000) continue;
        text += text.empty() ? "a" : " a";
        append_code_point(text, point);
        text += 'b';
      }
      const Ids ids = clip.encode(text);
      rows.push_back(fnv({ids.begin(), ids.end()}) & 0xffffffffu);
    }
    EXPECT_EQ(hex(fnv(rows)), wanted.substr(block * 16, 16)) << "block " << hex(block * 4096);
  }
}

TEST(ClipTokenizer, DecodesAsTransformers) {
  const ClipTokenizer clip = tokenizer("sd1");
  const json& wanted = golden()["folders"]["sd1"]["decoded"];
  for (size_t i = 0; i < wanted.size(); ++i)
    EXPECT_EQ(clip.decode(golden()["ids"][i].get<Ids>()), wanted[i]) << golden()["corpus"][i];
  EXPECT_EQ(clip.decode({-1, 1 << 30}), "");
}

TEST(ClipTokenizer, ReadsTheFolderThatTransformersSaves) {
  const ClipTokenizer saved = ClipTokenizer::load(kFolder + "/saved");
  EXPECT_EQ(saved.max_length(), 77);
  for (size_t i = 0; i < golden()["corpus"].size(); ++i)
    EXPECT_EQ(saved.encode(golden()["corpus"][i].get<std::string>()), golden()["ids"][i].get<Ids>());
  const ClipTokenizer plain = ClipTokenizer::load(kFolder);  // vocab.json and merges.txt, no configuration
  EXPECT_EQ(plain.max_length(), 77);
  EXPECT_EQ(plain.pad_id(), plain.eos_id());
  EXPECT_EQ(plain.vocab_size(), saved.vocab_size());
}

TEST(ClipTokenizer, PadsAndCutsToTheAskedLength) {
  const ClipTokenizer clip = tokenizer("pad0");
  const auto padded = clip.encode_padded("", 4);
  EXPECT_EQ(padded.ids, (Ids{clip.bos_id(), clip.eos_id(), clip.pad_id(), clip.pad_id()}));
  EXPECT_FALSE(padded.truncated);
  EXPECT_EQ(padded.cut_text, "");
  const auto cut = clip.encode_padded("a red balloon, a Balloon", 4);
  EXPECT_TRUE(cut.truncated);
  EXPECT_EQ(cut.ids.size(), 4u);
  EXPECT_EQ(cut.ids[3], clip.eos_id());
  EXPECT_EQ(cut.cut_text, "balloon , a balloon");
  EXPECT_THROW(clip.encode_padded("a", 1), Error);
}

TEST(ClipTokenizer, NamesTheByteThatIsNoUtf8) {
  const ClipTokenizer clip = tokenizer("sd1");
  try {
    clip.encode("a caf\xe9 at night");
    ADD_FAILURE() << "expected an Error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_STREQ(error.what(), "prompt: expected UTF-8, found the byte 0xe9 at byte offset 5");
  }
  EXPECT_THROW(clip.encode("\xed\xa0\x80"), Error);        // a surrogate
  EXPECT_THROW(clip.encode_padded("abc\xf0\x9f"), Error);  // cut short
}

TEST(ClipTokenizer, LongWordsTakeLittleTime) {
  const ClipTokenizer clip = tokenizer("sd1");
  EXPECT_GT(clip.encode(std::string(1 << 20, 'x')).size(), 1000u);
  EXPECT_GT(clip.encode(std::string(1 << 20, '!')).size(), 1000u);
}

TEST(ClipTokenizer, CopiesServeSeveralThreads) {
  const ClipTokenizer clip = tokenizer("more");
  const Ids wanted = clip.encode("a <foo> bar it's");
  std::vector<std::thread> threads;
  std::vector<int> equal(4, 0);
  for (size_t t = 0; t < equal.size(); ++t)
    threads.emplace_back([&, copy = clip, t] {
      for (int i = 0; i < 50; ++i) equal[t] += copy.encode("a <foo> bar it's") == wanted;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(4, 50));
}

}  // namespace
}  // namespace easel::text
