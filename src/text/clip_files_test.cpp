#include <gtest/gtest.h>
#include <unistd.h>

#include <easel/error.h>

#include <filesystem>
#include <fstream>

#include "io/test_folder.h"
#include "text/bpe.h"
#include "text/clip_tokenizer.h"

namespace easel::text {
namespace {

/// Files of the smallest tokenizer: the two letters a and b, one merge, the special tokens.
ClipTokenizerFiles small() {
  ClipTokenizerFiles files;
  files.vocab_json = R"({"a":0,"b":1,"a</w>":2,"b</w>":3,"ab</w>":4,"<|startoftext|>":5,"<|endoftext|>":6})";
  files.merges_txt = "#version: 0.2\na b</w>\n";
  return files;
}

std::string rejected(const ClipTokenizerFiles& files) {
  return io::error_of([&] { ClipTokenizer::parse(files, "tok"); });
}

std::string bad_vocab(const std::string& text) {
  ClipTokenizerFiles files = small();
  files.vocab_json = text;
  return rejected(files);
}
std::string bad_merges(const std::string& text) {
  ClipTokenizerFiles files = small();
  files.merges_txt = text;
  return rejected(files);
}
std::string bad_config(const std::string& text) {
  ClipTokenizerFiles files = small();
  files.tokenizer_config_json = text;
  return rejected(files);
}
std::string bad_tokenizer(const std::string& text) {
  ClipTokenizerFiles files;
  files.tokenizer_json = text;
  return rejected(files);
}

TEST(ClipFiles, TheSmallestTokenizerWorks) {
  const ClipTokenizer clip = ClipTokenizer::parse(small(), "tok");
  EXPECT_EQ(clip.encode("AB ba"), (std::vector<int32_t>{4, 1, 2}));
  EXPECT_EQ(clip.encode("z"), (std::vector<int32_t>{6}));  // no token for its byte
  EXPECT_EQ(clip.max_length(), 77);
  EXPECT_EQ(clip.vocab_size(), 7);
}

TEST(ClipFiles, ConfigurationsAreHonoured) {
  ClipTokenizerFiles files = small();
  files.tokenizer_config_json = R"({"model_max_length": 32, "pad_token": "a"})";
  EXPECT_EQ(ClipTokenizer::parse(files, "tok").max_length(), 32);
  EXPECT_EQ(ClipTokenizer::parse(files, "tok").pad_id(), 0);
  files.pad_token = "b";  // whatever the files say
  EXPECT_EQ(ClipTokenizer::parse(files, "tok").pad_id(), 1);
  files.pad_token = "";
  files.special_tokens_map_json = R"({"pad_token": {"content": "b"}})";
  EXPECT_EQ(ClipTokenizer::parse(files, "tok").pad_id(), 1);
  files.tokenizer_config_json = R"({"model_max_length": 1000000000000000019884624838656})";
  EXPECT_EQ(ClipTokenizer::parse(files, "tok").max_length(), 77);
  files.added_tokens_json = R"({"<new>": 7})";
  EXPECT_EQ(ClipTokenizer::parse(files, "tok").encode("a<NEW>"), (std::vector<int32_t>{2, 7}));
  files.special_tokens_map_json.reset();  // which made b a token that splits words
  files.merges_txt = "a b</w>\r\n#version: 0.2";
  EXPECT_EQ(ClipTokenizer::parse(files, "tok").encode("ab"), (std::vector<int32_t>{4}));
}

TEST(ClipFilesBadInput, Vocabulary) {
  EXPECT_HAS(bad_vocab(""), "tok/vocab.json: expected JSON, found an error at byte 1");
  EXPECT_HAS(bad_vocab(R"({"a":0,"b)"), "tok/vocab.json: expected JSON");
  EXPECT_HAS(bad_vocab("[]"), "expected a JSON object");
  EXPECT_HAS(bad_vocab(R"({"a":-1})"), "token 'a': expected an id from 0 to 999999, found -1");
  EXPECT_HAS(bad_vocab(R"({"a":1000000})"), "found 1000000");
  EXPECT_HAS(bad_vocab(R"({"a":18446744073709551615})"), "found 18446744073709551615");
  EXPECT_HAS(bad_vocab(R"({"a":1.5})"), "found 1.5");
  EXPECT_HAS(bad_vocab(R"({"a":"1"})"), "found \"1\"");
  EXPECT_HAS(bad_vocab(R"({"a":[]})"), "found a list");
  EXPECT_HAS(bad_vocab(R"({"a":0,"b":0})"), "expected an id of its own, found 0");
  EXPECT_HAS(bad_vocab("{\"a\":" + std::string(100'000, '[')), "at most 64 levels");
  EXPECT_HAS(bad_vocab(R"({"a":0,"b":1,"b</w>":3,"ab</w>":4,"<|endoftext|>":6})"),
             "tok/vocab.json: bos_token: expected '<|startoftext|>' in the vocabulary");
  EXPECT_HAS(bad_vocab(R"({"a":0,"b":1,"<|startoftext|>":5})"), "eos_token: expected '<|endoftext|>'");
  ClipTokenizerFiles files = small();
  files.vocab_json.reset();
  EXPECT_HAS(rejected(files), "expected vocab.json and merges.txt, or tokenizer.json; found no vocab.json");
  files = small();
  files.merges_txt.reset();
  EXPECT_HAS(rejected(files), "found no merges.txt");
}

TEST(ClipFilesBadInput, Merges) {
  EXPECT_HAS(bad_merges("a c</w>\n"), "tok/merges.txt: merge 1 ('a' 'c</w>'): expected 'c</w>' in the vocabulary");
  EXPECT_HAS(bad_merges("a b</w>\nb a\n"), "merge 2 ('b' 'a'): expected 'ba' in the vocabulary");
  EXPECT_HAS(bad_merges("#version: 0.2\nab\n"), "merge 1: expected two tokens with a space between, found 'ab'");
  EXPECT_HAS(bad_merges("a b</w>\n\na b</w>\n"), "merge 2: expected two tokens");
  EXPECT_HAS(bad_merges("a b c\n"), "merge 1");
  EXPECT_HAS(bad_merges("a \n"), "merge 1");
  EXPECT_HAS(bad_merges(" a\n"), "merge 1");
  EXPECT_HAS(bad_merges("a \xff\n"), "merge 1");
}

TEST(ClipFilesBadInput, Configuration) {
  EXPECT_HAS(bad_config("{"), "tok/tokenizer_config.json: expected JSON");
  EXPECT_HAS(bad_config(R"({"model_max_length": -5})"),
             "model_max_length: expected a whole number of at least 2, found -5");
  EXPECT_HAS(bad_config(R"({"model_max_length": "77"})"), "model_max_length");
  EXPECT_HAS(bad_config(R"({"pad_token": "<pad>"})"), "pad_token: expected '<pad>' in the vocabulary");
  EXPECT_HAS(bad_config(R"({"pad_token": 5})"), "pad_token: expected a token, found 5");
  EXPECT_HAS(bad_config(R"({"pad_token": ""})"), "expected a token");
  EXPECT_HAS(bad_config(R"({"added_tokens_decoder": []})"), "added_tokens_decoder: expected an object");
  EXPECT_HAS(bad_config(R"({"added_tokens_decoder": {"x": {"content": "y"}}})"), "expected an id");
  EXPECT_HAS(bad_config(R"({"added_tokens_decoder": {"7": {}}})"), "expected a token, found an object");
  ClipTokenizerFiles files = small();
  files.added_tokens_json = R"({"<x>": -7})";
  EXPECT_HAS(rejected(files), "tok/added_tokens.json: '<x>': expected an id");
  files = small();
  files.special_tokens_map_json = "{\"a\": 1";
  EXPECT_HAS(rejected(files), "tok/special_tokens_map.json: expected JSON");
}

TEST(ClipFilesBadInput, TokenizerJson) {
  EXPECT_HAS(bad_tokenizer("{}"), "tok/tokenizer.json: model: expected type BPE");
  EXPECT_HAS(bad_tokenizer(R"({"model": {"type": "Unigram", "vocab": {}, "merges": []}})"), "expected type BPE");
  EXPECT_HAS(bad_tokenizer(R"({"model": {"vocab": [], "merges": []}})"), "expected type BPE");
  EXPECT_HAS(bad_tokenizer(R"({"model": {"vocab": {"a": 0}, "merges": [["a"]]}})"), "merge 1: expected two tokens");
  EXPECT_HAS(bad_tokenizer(R"({"model": {"vocab": {"a": 0}, "merges": ["a"]}})"), "merge 1: expected two tokens");
  EXPECT_HAS(bad_tokenizer(R"({"model": {"vocab": {}, "merges": []}, "added_tokens": {}})"), "expected a list");
  EXPECT_HAS(bad_tokenizer(R"({"model": {"vocab": {}, "merges": []}, "added_tokens": [{"content": "x"}]})"),
             "added_tokens: expected an id");
}

TEST(ClipFilesBadInput, Folders) {
  const auto load = [](const std::string& path) { return io::error_of([&] { ClipTokenizer::load(path); }); };
  const auto folder = std::filesystem::temp_directory_path() / ("easel-clip-files-" + std::to_string(::getpid()));
  EXPECT_HAS(load(folder), "expected a tokenizer folder, found none");
  std::filesystem::create_directories(folder / "merges.txt");
  EXPECT_HAS(load(folder), "expected a file, found something else");
  std::filesystem::remove(folder / "merges.txt");
  EXPECT_HAS(load(folder), "found no vocab.json");
  std::ofstream(folder / "vocab.json") << "";
  std::ofstream(folder / "merges.txt") << "";
  EXPECT_HAS(load(folder), "vocab.json: expected JSON");
  std::filesystem::resize_file(folder / "vocab.json", (64u << 20) + 1);
  EXPECT_HAS(load(folder), "expected at most 67108864 bytes, found 67108865");
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace easel::text
