// Inputs that begin with "#files" are the files of a tokenizer folder, separated by lines "#next" (in the order of
// ClipTokenizerFiles; an empty part is a missing file). Everything else is a prompt.
#include <string>

#include "check.h"
#include "text/bpe.h"
#include "text/clip_tokenizer.h"
#include "text/unicode.h"

namespace {

using namespace easel;
using text::ClipTokenizer;

ClipTokenizer prompt_tokenizer() {
  std::string vocab = "{";
  int id = 0;
  for (const char* suffix : {"", "</w>"})
    for (const std::string& character : text::byte_characters()) {
      const bool escaped = character == "\"" || character == "\\";
      vocab += (escaped ? "\"\\" : "\"") + character + suffix + "\":" + std::to_string(id++) + ",";
    }
  vocab += R"("th":512,"the</w>":513,"<|startoftext|>":514,"<|endoftext|>":515})";
  text::ClipTokenizerFiles files;
  files.vocab_json = vocab;
  files.merges_txt = "t h\nth e</w>\n";
  files.tokenizer_config_json = R"({"added_tokens_decoder": {
      "514": {"content": "<|startoftext|>", "normalized": true, "special": true},
      "516": {"content": "<cat>", "lstrip": true, "rstrip": true}, "517": {"content": "dog", "single_word": true}}})";
  return ClipTokenizer::parse(files, "fuzz");
}

void try_prompt(const ClipTokenizer& tokenizer, std::string_view prompt) {
  fuzz::holds([&] {
    const auto encoded = tokenizer.encode_padded(prompt);
    fuzz::require(encoded.ids.size() == static_cast<size_t>(tokenizer.max_length()), "the length is as asked");
    for (const int32_t id : encoded.ids)
      fuzz::require(id >= 0 && id < tokenizer.vocab_size(), "ids are in the vocabulary");
    fuzz::require(!text::find_invalid_utf8(encoded.cut_text), "what was cut is UTF-8");
    fuzz::require(!text::find_invalid_utf8(tokenizer.decode(tokenizer.encode(prompt))), "decoded text is UTF-8");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  if (!input.starts_with("#files\n")) {
    static const ClipTokenizer tokenizer = prompt_tokenizer();
    try_prompt(tokenizer, input);
    return 0;
  }
  input.remove_prefix(7);
  text::ClipTokenizerFiles files;
  for (auto* file : {&files.tokenizer_json, &files.vocab_json, &files.merges_txt, &files.tokenizer_config_json,
                     &files.special_tokens_map_json, &files.added_tokens_json}) {
    const size_t end = input.find("#next\n");
    if (const std::string_view part = input.substr(0, end); !part.empty()) *file = std::string(part);
    input = end == input.npos ? "" : input.substr(end + 6);
  }
  fuzz::holds([&] {
    const ClipTokenizer tokenizer = ClipTokenizer::parse(files, "fuzz");
    if (tokenizer.max_length() <= 1000) try_prompt(tokenizer, "A cat's dog <x> ab\u00e9 123 <|endoftext|>!");
  });
  return 0;
}
