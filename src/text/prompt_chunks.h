// From weighted text to the chunks of tokens that the text encoder takes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/clip_tokenizer.h"
#include "text/prompt.h"

namespace easel::text {

/// A textual inversion that prompts may name: comfy as embedding:NAME (also NAME.safetensors), a1111 by NAME alone.
/// Gal et al. 2022, "An Image is Worth One Word".
struct EmbeddingName {
  std::string name;
  int vectors = 1;  ///< places it takes
};

struct PromptToken {
  int32_t id = 0;  ///< of the vocabulary; 0 where a vector stands
  double weight = 1;
  int embedding = -1;    ///< index of the textual inversion whose vector stands here; −1: none
  int vector = 0;        ///< which of its vectors
  bool padding = false;  ///< stands behind the text's end
};

struct ChunkedPrompt {
  std::vector<std::vector<PromptToken>> chunks;  ///< at least one, each of the asked length
  std::vector<std::string> unknown_embeddings;   ///< named in the prompt and not there; left out of it
  std::string cut_text;                          ///< plain: what did not fit, decoded
};

/// Each chunk is BOS, up to length − 2 tokens, EOS, and the tokenizer's padding; length ≥ 3.
/// plain: a single chunk, and what does not fit is cut.
/// comfy: a run of fewer than 8 tokens (or vectors) that does not fit goes to the next chunk whole; a longer one is
/// cut. a1111: the text after a comma among the last 20 tokens of a full chunk goes to the next one, BREAK ends a
/// chunk, an embedding that does not fit goes to the next whole; its name is found wherever its tokens are, the
/// longest first. Throws invalid_argument for text that is not UTF-8 and, in a1111, for an embedding of more vectors
/// than a chunk holds.
ChunkedPrompt chunk_prompt(const std::vector<WeightedText>& runs, PromptStyle style, const ClipTokenizer& tokenizer,
                           int length, const std::vector<EmbeddingName>& embeddings = {});

}  // namespace easel::text
