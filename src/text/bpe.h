// Byte-level byte-pair encoding. Sennrich, Haddow and Birch 2016; bytes as characters: Radford et al. 2019.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace easel::text {

/// The character that stands for a byte in vocabularies, in UTF-8: printable Latin-1 for itself, others from U+0100.
const std::array<std::string, 256>& byte_characters();

/// The bytes a token stands for: its characters mapped back, or its own bytes if one of them stands for no byte.
std::string token_bytes(std::string_view token);

/// Splits words into tokens as the `tokenizers` library's BPE model with the suffix </w> does: of all neighbours that
/// have a merge, the one of lowest rank (leftmost among equals) is joined, until none is left.
class Bpe {
 public:
  /// Tokens in `vocab` have distinct ids ≥ 0; `merges` are in order of rank. `unknown` stands for characters without
  /// a token. Throws io, beginning with `where`, if a merge needs a token that is missing.
  Bpe(std::unordered_map<std::string, int32_t> vocab, const std::vector<std::pair<std::string, std::string>>& merges,
      int32_t unknown, std::string_view where);

  /// Appends the ids of one word (raw bytes).
  void encode(std::string_view word, std::vector<int32_t>& ids) const;
  /// −1 if there is none.
  int32_t id_of(const std::string& token) const;
  const std::unordered_map<std::string, int32_t>& vocab() const { return vocab_; }

 private:
  struct Merge {
    int32_t rank;
    int32_t id;
  };
  const Merge* merge(int32_t left, int32_t right) const;

  std::unordered_map<std::string, int32_t> vocab_;
  std::unordered_map<uint64_t, Merge> merges_;  // by both ids
  std::array<int32_t, 256> inner_{}, last_{};   // tokens of a byte inside and at the end of a word
};

}  // namespace easel::text
