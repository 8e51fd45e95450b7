// A prompt through every stage of the prompt language. The first byte chooses style and seed.
#include <cmath>
#include <string>

#include "check.h"
#include "text/bpe.h"
#include "text/prompt.h"
#include "text/prompt_chunks.h"

namespace {

using namespace easel;

// Bytes, the comma and one merge: enough for every rule about tokens.
text::ClipTokenizer small_tokenizer() {
  std::string vocab = "{";
  int id = 0;
  for (const char* suffix : {"", "</w>"})
    for (const std::string& character : text::byte_characters()) {
      const bool escaped = character == "\"" || character == "\\";
      vocab += (escaped ? "\"\\" : "\"") + character + suffix + "\":" + std::to_string(id++) + ",";
    }
  vocab += R"("th":512,"<|startoftext|>":513,"<|endoftext|>":514})";
  text::ClipTokenizerFiles files;
  files.vocab_json = vocab;
  files.merges_txt = "t h\n";
  return text::ClipTokenizer::parse(files, "fuzz");
}

void try_text(const std::string& prompt, text::PromptStyle style, const text::ClipTokenizer& tokenizer) {
  const std::vector<text::WeightedText> runs = text::parse_weights(prompt, style);
  fuzz::require(text::parse_weights(text::print_weights(runs, style), style) == runs, "printed prompts read the same");
  const std::vector<text::EmbeddingName> names = {{"bad", 3}, {"b", 9}, {"dir/the", 1}};
  const text::ChunkedPrompt chunked = text::chunk_prompt(runs, style, tokenizer, 12, names);
  fuzz::require(!chunked.chunks.empty(), "there is a chunk");
  for (const auto& chunk : chunked.chunks) {
    fuzz::require(chunk.size() == 12, "chunks are whole");
    for (const text::PromptToken& token : chunk) {
      fuzz::require(std::isfinite(token.weight), "weights are finite");
      fuzz::require(token.id >= 0 && token.id < tokenizer.vocab_size(), "ids are in the vocabulary");
      fuzz::require(token.embedding < 0 || token.vector < names[static_cast<size_t>(token.embedding)].vectors,
                    "vectors exist");
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 4096) return 0;
  static const text::ClipTokenizer tokenizer = small_tokenizer();
  const auto style = static_cast<text::PromptStyle>(data[0] % 3);
  const std::string prompt(reinterpret_cast<const char*>(data) + 1, size - 1);
  fuzz::holds([&] {
    const std::string expanded = text::expand_wildcards(prompt, style, data[0]);
    for (const text::PromptBranch& branch : text::parse_schedule(expanded, style, 4, data[0] % 2 == 0)) {
      fuzz::require(!branch.schedule.empty() && branch.schedule.back().until == 4, "schedules last to the end");
      for (const text::ScheduledText& entry : branch.schedule)
        if (style != text::PromptStyle::plain) try_text(entry.text, style, tokenizer);
    }
  });
  return 0;
}
