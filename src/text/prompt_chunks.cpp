#include "text/prompt_chunks.h"

#include <algorithm>

#include "base/fail.h"
#include "text/prompt_syntax.h"

namespace easel::text {

namespace {

constexpr size_t kComfyLargeRun = 8;  // tokens; shorter runs are not cut
constexpr size_t kA1111Backtrack = 20;
constexpr std::string_view kEmbedding = "embedding:";

using Tokens = std::vector<PromptToken>;

void append_text(const ClipTokenizer& tokenizer, std::string_view text, double weight, Tokens& out) {
  for (const int32_t id : tokenizer.encode(text)) out.push_back({id, weight});
}

void append_embedding(int index, const EmbeddingName& embedding, double weight, Tokens& out) {
  for (int vector = 0; vector < embedding.vectors; ++vector) out.push_back({0, weight, index, vector});
}

// The chunk that is being filled and those before it.
class Chunks {
 public:
  Chunks(const ClipTokenizer& tokenizer, int length, ChunkedPrompt& out)
      : tokenizer_(tokenizer), length_(static_cast<size_t>(length)), out_(out) {}

  size_t room() const { return length_ - 2; }
  Tokens& text() { return text_; }

  void finish() {
    Tokens chunk = {{tokenizer_.bos_id()}};
    chunk.insert(chunk.end(), text_.begin(), text_.end());
    chunk.push_back({tokenizer_.eos_id()});
    PromptToken padding{tokenizer_.pad_id()};
    padding.padding = true;
    chunk.resize(length_, padding);
    out_.chunks.push_back(std::move(chunk));
    text_.clear();
  }

 private:
  const ClipTokenizer& tokenizer_;
  size_t length_;
  ChunkedPrompt& out_;
  Tokens text_;
};

// ---- ComfyUI -------------------------------------------------------------------------------------------------------

class ComfyChunker {
 public:
  ComfyChunker(const ClipTokenizer& tokenizer, int length, const std::vector<EmbeddingName>& embeddings,
               ChunkedPrompt& out)
      : tokenizer_(tokenizer), embeddings_(embeddings), out_(out), chunks_(tokenizer, length, out) {}

  void run(const std::vector<WeightedText>& runs) {
    for (const WeightedText& run : runs)
      for (const std::string_view piece : split_at_embeddings(run.text)) {
        if (piece.starts_with(kEmbedding)) {
          named(piece.substr(kEmbedding.size()), run.weight);
        } else {
          Tokens tokens;
          append_text(tokenizer_, piece, run.weight, tokens);
          place(tokens);
        }
      }
    chunks_.finish();
  }

 private:
  // "a embedding:x b embedding:y" → "a", "embedding:x b", "embedding:y". A name begins behind white space only.
  static std::vector<std::string_view> split_at_embeddings(std::string_view text) {
    std::vector<std::string_view> pieces;
    size_t begin = 0;
    for (size_t at = text.find(kEmbedding); at != std::string_view::npos; at = text.find(kEmbedding, at + 1)) {
      if (at == 0 || (text[at - 1] != ' ' && text[at - 1] != '\n')) continue;
      pieces.push_back(text.substr(begin, at - 1 - begin));
      begin = at;
    }
    pieces.push_back(text.substr(begin));
    std::erase(pieces, std::string_view());
    return pieces;
  }

  int find(std::string_view name) const {
    for (size_t i = 0; i < embeddings_.size(); ++i)
      if (name == embeddings_[i].name || name == embeddings_[i].name + ".safetensors") return static_cast<int>(i);
    return -1;
  }

  // What follows "embedding:": a name up to white space, then text. A comma beside the name is text.
  void named(std::string_view piece, double weight) {
    piece = trim_start(piece);
    size_t end = 0;
    while (end < piece.size() && !starts_with_space(piece.substr(end))) ++end;
    const std::string_view word = piece.substr(0, end);
    std::string_view name = word;
    int index = find(word);
    if (index < 0) {
      while (name.starts_with(',')) name.remove_prefix(1);
      while (name.ends_with(',')) name.remove_suffix(1);
      index = find(name);
    }
    Tokens tokens;
    if (index >= 0)
      append_embedding(index, embeddings_[static_cast<size_t>(index)], weight, tokens);
    else
      out_.unknown_embeddings.emplace_back(name);
    place(tokens);
    tokens.clear();
    append_text(tokenizer_, piece.substr(static_cast<size_t>(name.data() - piece.data()) + name.size()), weight,
                tokens);
    place(tokens);
  }

  void place(const Tokens& tokens) {
    const bool large = tokens.size() >= kComfyLargeRun;
    for (size_t done = 0; done < tokens.size();) {
      Tokens& text = chunks_.text();
      const size_t fits = chunks_.room() - text.size(), left = tokens.size() - done;
      if (left > fits && !large && !text.empty()) {
        chunks_.finish();
        continue;
      }
      const size_t count = std::min(fits, left);
      const auto from = tokens.begin() + static_cast<ptrdiff_t>(done);
      text.insert(text.end(), from, from + static_cast<ptrdiff_t>(count));
      done += count;
      if (done < tokens.size()) chunks_.finish();
    }
  }

  const ClipTokenizer& tokenizer_;
  const std::vector<EmbeddingName>& embeddings_;
  ChunkedPrompt& out_;
  Chunks chunks_;
};

// ---- A1111 ---------------------------------------------------------------------------------------------------------

class A1111Chunker {
 public:
  A1111Chunker(const ClipTokenizer& tokenizer, int length, const std::vector<EmbeddingName>& embeddings,
               ChunkedPrompt& out)
      : tokenizer_(tokenizer), embeddings_(embeddings), out_(out), chunks_(tokenizer, length, out) {
    const std::vector<int32_t> comma = tokenizer.encode(",");
    if (comma.size() == 1) comma_ = comma[0];
    for (const EmbeddingName& embedding : embeddings) {
      // The name as people write it: without the folders of the file.
      const size_t slash = embedding.name.rfind('/');
      names_.push_back(
          tokenizer.encode(slash == std::string::npos ? embedding.name : embedding.name.substr(slash + 1)));
    }
  }

  void run(const std::vector<WeightedText>& runs) {
    for (const WeightedText& run : runs) {
      if (run.is_break) {
        next_chunk();
        continue;
      }
      const std::vector<int32_t> ids = tokenizer_.encode(run.text);
      for (size_t position = 0; position < ids.size();) position += place(ids, position, run.weight);
    }
    if (!chunks_.text().empty() || out_.chunks.empty()) next_chunk();
  }

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  void next_chunk() {
    chunks_.finish();
    last_comma_ = kNone;
  }

  // Index of the embedding with the longest name at this place, −1 if there is none.
  int embedding_at(const std::vector<int32_t>& ids, size_t position) const {
    int best = -1;
    size_t longest = 0;
    for (size_t i = 0; i < names_.size(); ++i) {
      const std::vector<int32_t>& name = names_[i];
      if (name.size() > longest && name.size() <= ids.size() - position &&
          std::equal(name.begin(), name.end(), ids.begin() + static_cast<ptrdiff_t>(position))) {
        best = static_cast<int>(i);
        longest = name.size();
      }
    }
    return best;
  }

  // Returns how many of the ids it took.
  size_t place(const std::vector<int32_t>& ids, size_t position, double weight) {
    Tokens& text = chunks_.text();
    const size_t room = chunks_.room();
    if (ids[position] == comma_) {
      last_comma_ = text.size();
    } else if (text.size() == room && last_comma_ != kNone && text.size() - last_comma_ <= kA1111Backtrack) {
      const auto tail = text.begin() + static_cast<ptrdiff_t>(last_comma_) + 1;
      const Tokens moved(tail, text.end());
      text.erase(tail, text.end());
      next_chunk();
      text = moved;
    }
    if (text.size() == room) next_chunk();
    const int found = embedding_at(ids, position);
    if (found < 0) {
      text.push_back({ids[position], weight});
      return 1;
    }
    const EmbeddingName& embedding = embeddings_[static_cast<size_t>(found)];
    const auto vectors = static_cast<size_t>(embedding.vectors);
    if (vectors > room)
      fail(ErrorCode::invalid_argument, "embedding '{}': expected at most {} vectors, found {}",
           printable(embedding.name), room, vectors);
    if (text.size() + vectors > room) next_chunk();
    append_embedding(found, embedding, weight, text);
    return names_[static_cast<size_t>(found)].size();
  }

  const ClipTokenizer& tokenizer_;
  const std::vector<EmbeddingName>& embeddings_;
  ChunkedPrompt& out_;
  Chunks chunks_;
  int32_t comma_ = -1;
  std::vector<std::vector<int32_t>> names_;  // as tokens
  size_t last_comma_ = kNone;                // its place in the chunk
};

}  // namespace

ChunkedPrompt chunk_prompt(const std::vector<WeightedText>& runs, PromptStyle style, const ClipTokenizer& tokenizer,
                           int length, const std::vector<EmbeddingName>& embeddings) {
  if (length < 3) fail(ErrorCode::invalid_argument, "chunks: expected a length of at least 3, found {}", length);
  ChunkedPrompt out;
  if (style == PromptStyle::plain) {
    std::string text;
    for (const WeightedText& run : runs) text += run.text;
    ClipTokenizer::Encoded encoded = tokenizer.encode_padded(text, length);
    Tokens& chunk = out.chunks.emplace_back();
    for (const int32_t id : encoded.ids) chunk.push_back({id});
    out.cut_text = std::move(encoded.cut_text);
  } else if (style == PromptStyle::a1111) {
    A1111Chunker(tokenizer, length, embeddings, out).run(runs);
  } else {
    ComfyChunker(tokenizer, length, embeddings, out).run(runs);
  }
  return out;
}

}  // namespace easel::text
