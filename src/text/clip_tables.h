// What a CLIP tokenizer is made of, once its files are read. Internal to the room.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.h"
#include "text/clip_tokenizer.h"

namespace easel::text {

/// A token that is found in the text as it stands, before words are made.
struct AddedToken {
  std::string content;
  std::string form;  ///< what is searched for: the content, normalized where `normalized` says so
  int32_t id = -1;
  bool special = true;
  bool normalized = false;              ///< searched in the normalized text, in its normalized form
  bool lstrip = false, rstrip = false;  ///< takes the white space beside it
  bool single_word = false;             ///< only where no word character is beside it
};

struct ClipTokenizer::Tables {
  Bpe bpe;
  std::vector<AddedToken> added;
  std::vector<std::string> tokens;  // by id
  int max_length = 77;
  int32_t bos = -1, eos = -1, pad = -1, unk = -1;
};

/// NFC, white space to single spaces, lower case.
std::string clip_normalize(std::string_view text);

/// Reads the files. Throws io.
ClipTokenizer::Tables read_clip_tables(const ClipTokenizerFiles& files, const std::string& where);

}  // namespace easel::text
