// From a prompt in its dialect to what the UNet attends to.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <easel/pipeline.h>

#include "pipelines/component.h"
#include "pipelines/model_files.h"
#include "pipelines/textual_inversion.h"
#include "text/clip_tokenizer.h"
#include "text/lora_tags.h"
#include "text/prompt.h"
#include "text/prompt_chunks.h"

namespace easel::pipelines {

/// A text to encode, with all that its embedding depends on.
struct PromptText {
  text::PromptStyle style = text::PromptStyle::plain;
  int clip_skip = 1;
  bool absent = false;        ///< no text at all, which is zeros
  std::string adapters = {};  ///< of the text encoders; see Adapters::text_key()
  std::string text = {};
  std::string second = {};                              ///< what the second encoder reads instead; empty: the same
  auto operator<=>(const PromptText&) const = default;  // NOLINT(modernize-use-nullptr): it means the 0 inside
};

/// A prompt taken apart: its conditionings, and what each of them says when.
struct PromptPlan {
  text::PromptStyle style = text::PromptStyle::plain;
  int clip_skip = 1;
  bool absent = false;
  std::string expanded;              ///< after wildcards
  std::string second;                ///< the same of what the second encoder reads instead; empty: the same text
  std::string adapters;              ///< of the text encoders
  std::vector<text::LoraTag> loras;  ///< of the prompt (a1111)
  std::vector<text::PromptBranch> branches;
  std::set<int64_t> chunk_counts;  ///< of all texts

  PromptText text_of(const std::string& text) const { return {style, clip_skip, absent, adapters, text, second}; }
  PromptText at(size_t branch, int step) const { return text_of(branches[branch].at(step)); }
  /// Every text once, in order of appearance.
  std::vector<PromptText> texts() const;
  /// Whether the conditionings have to be mixed: several, or one of another weight than 1.
  bool mixed() const { return branches.size() > 1 || branches.front().weight != 1; }
};

/// The smallest number of chunks that every text of both prompts can be repeated to. (Attention over repeated keys is
/// attention over the keys, so texts of different length share one program without padding that would change them.)
/// Throws invalid_argument where the counts have no common multiple up to kMaxCommonChunks or the largest count.
int64_t common_chunks(const PromptPlan& prompt, const PromptPlan* negative);
inline constexpr int64_t kMaxCommonChunks = 64;

/// Owns the tokenizers and the text encoders, one or two, and keeps the embeddings they made.
class PromptEncoder {
 public:
  /// tokenizers: one per text encoder of `files`. before_use is called each time before an encoder is packed and run.
  PromptEncoder(const ModelFiles& files, std::vector<text::ClipTokenizer> tokenizers, const LoadOptions& options,
                device::ContextPtr context, DType precision, std::shared_ptr<exec::Arena> arena,
                std::function<void(Component&)> before_use);

  /// Length of a chunk, with start, end and padding.
  int64_t tokens() const;
  /// Parses and counts chunks; runs nothing. `negative`: the negative prompt, which AND does not divide.
  /// Throws invalid_argument, naming the option.
  PromptPlan plan(const TextToImageRequest& request, bool negative) const;
  /// As the first encoder reads it, or another. Where two read texts of their own, the one with fewer chunks is filled
  /// up with empty ones.
  text::ChunkedPrompt chunks(const PromptText& text, size_t index = 0) const;

  /// Encodes what is not in the cache yet; a warning for every text that was cut or names an unknown embedding.
  void encode(const std::vector<PromptText>& texts);
  /// What the UNet is given of a text.
  struct Encoded {
    Tensor states;  ///< [1, chunks · tokens(), D] f32; of two encoders side by side
    Tensor pooled;  ///< [1, P] f32, of the first chunk, whatever its weights; undefined where no encoder projects
  };
  /// From the cache. The states are
  ///   plain: one chunk, cut to the encoder's length as diffusers does. Each encoder reads the text with its tokenizer.
  ///   comfy: z + (w − 1)(z − z₀) for a token of weight w, z₀ the encoding of the empty prompt at its place.
  ///   a1111: w · z, then the whole chunk scaled to the mean it had without weights.
  /// In the styles, the second encoder takes the first one's tokens with padding of its own.
  const Encoded& encoded(const PromptText& text);
  Tensor embedding(const PromptText& text) { return encoded(text).states; }

  /// Adapters of the texts that are encoded from now on, by component; `key` is the `adapters` of these.
  void use_adapters(const std::string& key, const std::map<std::string, exec::Replacements>& replacements);

  // The text encoders as components, by the names of their places ("text_encoder", "text_encoder_2").
  size_t count() const { return encoders_.size(); }
  Component& component(size_t index = 0) { return *encoders_[index].component; }
  const std::string& name(size_t index) const { return files_.text_encoders[index].name; }
  /// The observer of the encoder of that name.
  void set_observer(const std::function<exec::Session::Observer(const std::string& name)>& observer);
  DType precision() const { return precision_; }
  double compile_seconds() const;
  const text::ClipTokenizer& tokenizer() const { return encoders_.front().tokenizer; }
  const TextualInversions& embeddings() const { return embeddings_; }

 private:
  using Chunk = std::vector<text::PromptToken>;
  struct Encoder {
    text::ClipTokenizer tokenizer;
    std::unique_ptr<Component> component;
    int clip_skip = 0;  // what the component is made for; 0: nothing yet
    double earlier_seconds = 0;
    exec::Session::Observer observer;
  };
  /// One chunk: states [S, D], and pooled [P] where the encoder projects.
  struct Row {
    Tensor states, pooled;
  };
  void use_layers(size_t index, int clip_skip);
  text::ChunkedPrompt own_chunks(const PromptText& text, size_t index) const;
  void check_second(const TextToImageRequest& request) const;
  std::vector<Row> run(size_t index, const std::vector<const Chunk*>& chunks);
  int64_t pooled_token(size_t index, const Chunk& chunk) const;
  /// The rows of every text, weighted as the style says.
  std::vector<std::vector<Row>> encode_with(size_t index, const std::vector<PromptText>& texts);
  void encode_group(const std::vector<PromptText>& texts);
  Encoded zeros() const;
  int default_clip_skip() const { return is_xl(files_.family) ? 2 : 1; }
  void warn_unknown(const std::vector<std::string>& names) const;

  const ModelFiles& files_;
  std::function<void(const std::string&)> warn_;
  bool keep_, keep_blocks_;
  device::ContextPtr context_;
  DType precision_;
  std::shared_ptr<exec::Arena> arena_;
  std::function<void(Component&)> before_use_;
  TextualInversions embeddings_;
  std::vector<text::EmbeddingName> names_;
  std::optional<std::string> adapters_ = "";  // nothing where putting them in failed
  std::map<std::string, exec::Replacements> replacements_;
  std::vector<Encoder> encoders_;
  std::map<PromptText, Encoded> cache_;
};

}  // namespace easel::pipelines
