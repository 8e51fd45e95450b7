#include "text/clip_tokenizer.h"

#include <algorithm>
#include <bitset>

#include "base/fail.h"
#include "text/clip_tables.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace easel::text {

namespace {

// Letters and numbers of Unicode 15 to 17, which PCRE2 10.42 (Unicode 14) does not know yet.
#define NEW_LETTERS                                                                                          \
  "\\x{1c89}-\\x{1c8a}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d65}"      \
  "\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{1123f}-\\x{11240}\\x{11380}-\\x{11389}\\x{1138b}\\x{1138e}" \
  "\\x{11390}-\\x{113b5}\\x{113b7}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f02}\\x{11f04}-\\x{11f10}"  \
  "\\x{11f12}-\\x{11f33}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1611d}"           \
  "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}\\x{1e030}-\\x{1e06d}"            \
  "\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"
#define NEW_NUMBERS                                                                                           \
  "\\x{10d40}-\\x{10d49}\\x{116d0}-\\x{116e3}\\x{11bf0}-\\x{11bf9}\\x{11f50}-\\x{11f59}\\x{16130}-\\x{16139}" \
  "\\x{16d70}-\\x{16d79}\\x{1ccf0}-\\x{1ccf9}\\x{1d2c0}-\\x{1d2d3}\\x{1e4f0}-\\x{1e4f9}\\x{1e5f1}-\\x{1e5fa}"
// White_Space spelled out: PCRE2's \s also has U+180E.
#define SPACES \
  "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

#define LETTERS "\\p{L}" NEW_LETTERS
#define NUMBERS "\\p{N}" NEW_NUMBERS
constexpr const char* kWords = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[" LETTERS "]+|[" NUMBERS
                               "]|[^" SPACES LETTERS NUMBERS "]+";

const Regex& words_regex() {
  static const Regex regex(kWords);
  return regex;
}

bool is_word_character(std::string_view text, size_t position) {
  // \w of Rust's regular expressions: Alphabetic, marks, decimal numbers, connectors, joiners.
  static const Regex regex("[" LETTERS NEW_NUMBERS
                           "\\p{Nd}\\p{Nl}\\p{M}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}"
                           "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}]");
  size_t end = position;
  next_code_point(text, end);
  return !regex.find_all(text.substr(position, end - position)).empty();
}

/// Where the character that ends at `position` starts.
size_t previous_start(std::string_view text, size_t position) {
  do --position;
  while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xc0) == 0x80);
  return position;
}

struct Piece {
  std::string_view text;
  int32_t id = -1;  // of an added token; −1: text
};

/// Cuts out the added tokens: leftmost first, the longest of those that start together.
std::vector<Piece> split_added(std::string_view text, const std::vector<AddedToken>& added, bool normalized) {
  std::vector<Piece> pieces;
  std::bitset<256> begins;  // most positions begin no token
  for (const AddedToken& token : added)
    if (token.normalized == normalized) begins.set(static_cast<unsigned char>(token.form[0]));
  size_t done = 0;
  for (size_t position = 0; position < text.size();) {
    const AddedToken* best = nullptr;
    size_t length = 0;
    if (begins[static_cast<unsigned char>(text[position])])
      for (const AddedToken& token : added)
        if (token.normalized == normalized && token.form.size() > length &&
            text.substr(position).starts_with(token.form)) {
          best = &token;
          length = token.form.size();
        }
    if (!best) {
      ++position;
      continue;
    }
    size_t start = position, stop = position + length;
    position = stop;
    if (best->single_word && ((start > 0 && is_word_character(text, previous_start(text, start))) ||
                              (stop < text.size() && is_word_character(text, stop))))
      continue;
    while (best->lstrip && start > done) {
      size_t before = previous_start(text, start), end = before;
      if (!is_space(next_code_point(text, end))) break;
      start = before;
    }
    while (best->rstrip && stop < text.size()) {
      size_t end = stop;
      if (!is_space(next_code_point(text, end))) break;
      stop = end;
    }
    if (start > done) pieces.push_back({text.substr(done, start - done)});
    pieces.push_back({text.substr(start, stop - start), best->id});
    done = position = stop;
  }
  if (done < text.size()) pieces.push_back({text.substr(done)});
  return pieces;
}

void encode_words(const Bpe& bpe, std::string_view text, std::vector<int32_t>& ids) {
  for (const std::string_view word : words_regex().find_all(text)) {
    if (word.starts_with("<|") && word.ends_with("|>") && (word == "<|startoftext|>" || word == "<|endoftext|>")) {
      // The byte-level step splits words once more, by a pattern that knows no such tokens.
      bpe.encode("<|", ids);
      bpe.encode(word.substr(2, word.size() - 4), ids);
      bpe.encode("|>", ids);
    } else {
      bpe.encode(word, ids);
    }
  }
}

}  // namespace

std::string clip_normalize(std::string_view text) {
  const std::string composed = nfc(text);
  std::string spaced;
  bool space = false;
  for (size_t i = 0; i < composed.size();) {
    const size_t start = i;
    if (is_space(next_code_point(composed, i))) {
      if (!space) spaced += ' ';
      space = true;
    } else {
      spaced.append(composed, start, i - start);
      space = false;
    }
  }
  return lowercase(spaced);
}

ClipTokenizer ClipTokenizer::parse(const ClipTokenizerFiles& files, const std::string& where) {
  ClipTokenizer tokenizer;
  tokenizer.tables_ = std::make_shared<const Tables>(read_clip_tables(files, where));
  return tokenizer;
}

std::vector<int32_t> ClipTokenizer::encode(std::string_view utf8) const {
  if (const auto offset = find_invalid_utf8(utf8))
    fail(ErrorCode::invalid_argument, "prompt: expected UTF-8, found the byte 0x{:02x} at byte offset {}",
         static_cast<unsigned char>(utf8[*offset]), *offset);
  std::vector<int32_t> ids;
  for (const Piece& piece : split_added(utf8, tables_->added, false)) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
      continue;
    }
    const std::string text = clip_normalize(piece.text);
    for (const Piece& part : split_added(text, tables_->added, true)) {
      if (part.id >= 0)
        ids.push_back(part.id);
      else
        encode_words(tables_->bpe, part.text, ids);
    }
  }
  return ids;
}

ClipTokenizer::Encoded ClipTokenizer::encode_padded(std::string_view utf8, int length) const {
  if (length == 0) length = tables_->max_length;
  if (length < 2) fail(ErrorCode::invalid_argument, "tokens: expected a length of at least 2, found {}", length);
  const auto room = static_cast<size_t>(length) - 2;
  const std::vector<int32_t> text = encode(utf8);
  Encoded out;
  out.truncated = text.size() > room;
  const auto cut = text.begin() + static_cast<std::ptrdiff_t>(std::min(room, text.size()));
  out.cut_text = decode({cut, text.end()});
  out.ids.push_back(tables_->bos);
  out.ids.insert(out.ids.end(), text.begin(), cut);
  out.ids.push_back(tables_->eos);
  out.ids.resize(static_cast<size_t>(length), tables_->pad);
  return out;
}

std::string ClipTokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string bytes;
  for (const int32_t id : ids)
    if (id >= 0 && static_cast<size_t>(id) < tables_->tokens.size())
      bytes += token_bytes(tables_->tokens[static_cast<size_t>(id)]);
  const std::string text = utf8_lossy(bytes);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.compare(i, 4, "</w>") == 0) {
      out += ' ';
      i += 4;
    } else {
      out += text[i++];
    }
  }
  // Python's strip(): white space and the four separators U+001C to U+001F.
  const auto strippable = [&](size_t position) {
    const char32_t point = next_code_point(out, position);
    return is_space(point) || (point >= 0x1c && point <= 0x1f);
  };
  size_t begin = 0, end = out.size();
  while (begin < end && strippable(begin)) next_code_point(out, begin);
  while (begin < end && strippable(previous_start(out, end))) end = previous_start(out, end);
  return out.substr(begin, end - begin);
}

int ClipTokenizer::max_length() const noexcept { return tables_->max_length; }
int32_t ClipTokenizer::bos_id() const noexcept { return tables_->bos; }
int32_t ClipTokenizer::eos_id() const noexcept { return tables_->eos; }
int32_t ClipTokenizer::pad_id() const noexcept { return tables_->pad; }
int32_t ClipTokenizer::unk_id() const noexcept { return tables_->unk; }
int64_t ClipTokenizer::vocab_size() const noexcept { return static_cast<int64_t>(tables_->tokens.size()); }

}  // namespace easel::text
