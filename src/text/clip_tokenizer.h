// CLIP's tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace easel::text {

/// The contents of the files of a tokenizer folder; nothing where there is no such file.
struct ClipTokenizerFiles {
  using Contents = std::optional<std::string>;
  Contents tokenizer_json;         ///< vocabulary, merges and added tokens in one; preferred where present
  Contents vocab_json;             ///< {token: id}
  Contents merges_txt;             ///< one "left right" per line; lines that begin with "#version" are skipped
  Contents tokenizer_config_json;  ///< model_max_length, bos_token, eos_token, unk_token, pad_token, …
  /// The same tokens, and {token: id}: both read only where the configuration has no added_tokens_decoder.
  Contents special_tokens_map_json, added_tokens_json;
  std::string pad_token;  ///< pads whatever the files say; empty: as they say
};

/// Text → token ids, equal to transformers 5 CLIPTokenizer: NFC, white space to single spaces, lower case, words by
/// CLIP's pattern, byte-level BPE with </w>. Special tokens written in the text become those tokens.
/// (transformers 4 without its Rust backend differed: it put spaces around CJK characters and dropped control
/// characters.) Radford et al. 2021. Copies share the tables; all members may be called from any thread.
class ClipTokenizer {
 public:
  /// Reads a folder: tokenizer.json, or vocab.json with merges.txt; and the configuration where there is one.
  /// pad_token: see ClipTokenizerFiles. Throws io, naming the file, what was expected and what came.
  static ClipTokenizer load(const std::string& folder, const std::string& pad_token = "");
  /// `where` names the folder in messages.
  static ClipTokenizer parse(const ClipTokenizerFiles& files, const std::string& where);

  /// Ids without BOS and EOS, of any length. Throws invalid_argument with the byte offset if `utf8` is not UTF-8.
  std::vector<int32_t> encode(std::string_view utf8) const;

  struct Encoded {
    std::vector<int32_t> ids;  ///< exactly `length`: BOS, text, EOS, then the pad token
    bool truncated = false;
    std::string cut_text;  ///< what was cut, decoded, as diffusers prints it in its warning
  };
  /// length ≥ 2, or 0 for max_length(). Throws as encode.
  Encoded encode_padded(std::string_view utf8, int length = 0) const;

  /// The text of ids as transformers' decode gives it: lower case, words split by spaces, bytes that form no character
  /// as U+FFFD. Ids outside the vocabulary give nothing.
  std::string decode(const std::vector<int32_t>& ids) const;

  int max_length() const noexcept;  ///< model_max_length; 77 where the configuration has none
  int32_t bos_id() const noexcept;
  int32_t eos_id() const noexcept;
  int32_t pad_id() const noexcept;
  int32_t unk_id() const noexcept;
  /// One more than the largest id.
  int64_t vocab_size() const noexcept;

  struct Tables;

 private:
  std::shared_ptr<const Tables> tables_;
};

}  // namespace easel::text
