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
  std::string adapters;  ///< of the text encoder; see Adapters::text_key()
  std::string text;
  auto operator<=>(const PromptText&) const = default;  // NOLINT(modernize-use-nullptr): it means the 0 inside
};

/// A prompt taken apart: its conditionings, and what each of them says when.
struct PromptPlan {
  text::PromptStyle style = text::PromptStyle::plain;
  int clip_skip = 1;
  std::string expanded;              ///< after wildcards
  std::string adapters;              ///< of the text encoder
  std::vector<text::LoraTag> loras;  ///< of the prompt (a1111)
  std::vector<text::PromptBranch> branches;
  std::set<int64_t> chunk_counts;  ///< of all texts

  PromptText text_of(const std::string& text) const { return {style, clip_skip, adapters, text}; }
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

/// Owns the tokenizer and the text encoder, and keeps the embeddings it made.
class PromptEncoder {
 public:
  /// before_use is called each time before the text encoder is packed and run.
  PromptEncoder(const ModelFiles& files, text::ClipTokenizer tokenizer, const LoadOptions& options,
                device::ContextPtr context, DType precision, std::shared_ptr<exec::Arena> arena,
                std::function<void(Component&)> before_use);

  /// Length of a chunk, with start, end and padding.
  int64_t tokens() const;
  /// Parses and counts chunks; runs nothing. `negative`: the negative prompt, which AND does not divide.
  /// Throws invalid_argument, naming the option.
  PromptPlan plan(const TextToImageRequest& request, bool negative) const;
  text::ChunkedPrompt chunks(const PromptText& text) const;

  /// Encodes what is not in the cache yet; a warning for every text that was cut or names an unknown embedding.
  void encode(const std::vector<PromptText>& texts);
  /// [1, chunks · tokens(), D] f32, from the cache.
  ///   plain: one chunk, cut to the encoder's length as diffusers does.
  ///   comfy: z + (w − 1)(z − z₀) for a token of weight w, z₀ the encoding of the empty prompt at its place.
  ///   a1111: w · z, then the whole chunk scaled to the mean it had without weights.
  Tensor embedding(const PromptText& text);

  /// Adapters of the texts that are encoded from now on; `key` is the `adapters` of these.
  void use_adapters(const std::string& key, const exec::Replacements& replacements);

  // The text encoder as a component.
  Component& component() { return *component_; }
  void set_observer(const exec::Session::Observer& observer);
  DType precision() const { return precision_; }
  double compile_seconds() const { return earlier_seconds_ + component_->compile_seconds(); }
  const text::ClipTokenizer& tokenizer() const { return tokenizer_; }
  const TextualInversions& embeddings() const { return embeddings_; }

 private:
  using Chunk = std::vector<text::PromptToken>;
  void use_layers(int clip_skip);
  /// [S, D] for each chunk.
  std::vector<Tensor> run(const std::vector<const Chunk*>& chunks);
  void encode_group(const std::vector<PromptText>& texts);
  void warn_unknown(const std::vector<std::string>& names) const;

  const ModelFiles& files_;
  text::ClipTokenizer tokenizer_;
  std::function<void(const std::string&)> warn_;
  bool keep_;
  device::ContextPtr context_;
  DType precision_;
  std::shared_ptr<exec::Arena> arena_;
  std::function<void(Component&)> before_use_;
  exec::Session::Observer observer_;
  TextualInversions embeddings_;
  std::vector<text::EmbeddingName> names_;
  int layers_skipped_ = 0;  // what component_ is made for; 0: nothing yet
  std::unique_ptr<Component> component_;
  std::optional<std::string> adapters_ = "";  // nothing where putting them in failed
  exec::Replacements replacements_;
  double earlier_seconds_ = 0;
  std::map<PromptText, Tensor> cache_;
};

}  // namespace easel::pipelines
