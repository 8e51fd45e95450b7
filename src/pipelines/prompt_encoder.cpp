#include "pipelines/prompt_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/fail.h"
#include "models/clip_text.h"

namespace easel::pipelines {

using text::PromptStyle;
using text::PromptToken;

namespace {

constexpr size_t kMaxCachedPrompts = 4096;
constexpr size_t kRowsAtOnce = 2;  // the two prompts of a guided picture

bool is_weighted(const std::vector<PromptToken>& chunk) {
  return std::any_of(chunk.begin(), chunk.end(), [](const PromptToken& token) { return token.weight != 1; });
}

// z ← z₀ + w (z − z₀) per token. z, empty: [S, D].
void weigh_from_empty(std::span<float> z, std::span<const float> empty, const std::vector<PromptToken>& chunk) {
  const size_t width = z.size() / chunk.size();
  for (size_t i = 0; i < chunk.size(); ++i) {
    if (chunk[i].weight == 1) continue;
    const auto weight = static_cast<float>(chunk[i].weight);
    for (size_t j = i * width; j < (i + 1) * width; ++j) z[j] = (z[j] - empty[j]) * weight + empty[j];
  }
}

// z ← w z per token, then all of z scaled to its old mean.
void weigh_and_restore_mean(std::span<float> z, const std::vector<PromptToken>& chunk) {
  const size_t width = z.size() / chunk.size();
  const double before = std::accumulate(z.begin(), z.end(), 0.0);
  for (size_t i = 0; i < z.size(); ++i) z[i] *= static_cast<float>(chunk[i / width].weight);
  const double after = std::accumulate(z.begin(), z.end(), 0.0);
  const auto scale = static_cast<float>(before / after);
  if (!std::isfinite(scale)) return;  // nothing is left to scale
  for (float& value : z) value *= scale;
}

}  // namespace

std::vector<PromptText> PromptPlan::texts() const {
  std::vector<PromptText> out;
  std::set<std::string> seen;
  for (const text::PromptBranch& branch : branches)
    for (const text::ScheduledText& entry : branch.schedule)
      if (seen.insert(entry.text).second) out.push_back(text_of(entry.text));
  return out;
}

int64_t common_chunks(const PromptPlan& prompt, const PromptPlan* negative) {
  std::set<int64_t> counts = prompt.chunk_counts;
  if (negative) counts.insert(negative->chunk_counts.begin(), negative->chunk_counts.end());
  const int64_t limit = std::max(kMaxCommonChunks, *counts.rbegin());
  int64_t common = 1;
  for (const int64_t count : counts) {
    common = std::lcm(common, count);
    if (common > limit)
      fail(
          ErrorCode::invalid_argument,
          "prompt: its texts and those of the negative prompt take {} chunks of tokens; expected numbers with a common "
          "multiple up to {}",
          fmt::join(counts, ", "), limit);
  }
  return common;
}

PromptEncoder::PromptEncoder(const ModelFiles& files, text::ClipTokenizer tokenizer, const LoadOptions& options,
                             device::ContextPtr context, DType precision, std::shared_ptr<exec::Arena> arena,
                             std::function<void(Component&)> before_use)
    : files_(files),
      tokenizer_(std::move(tokenizer)),
      warn_(options.warn),
      keep_(options.keep_text_encoder),
      context_(std::move(context)),
      precision_(precision),
      arena_(std::move(arena)),
      before_use_(std::move(before_use)),
      embeddings_(read_textual_inversions(options.embeddings, files.text_encoder.hidden_size)) {
  for (const TextualInversion& embedding : embeddings_.all)
    names_.push_back({embedding.name, static_cast<int>(embedding.vectors.dim(0))});
  use_layers(1);
}

int64_t PromptEncoder::tokens() const {
  return std::min<int64_t>(tokenizer_.max_length(), files_.text_encoder.max_position_embeddings);
}

void PromptEncoder::use_layers(int clip_skip) {
  if (layers_skipped_ == clip_skip) return;
  models::ClipTextConfig config = files_.text_encoder;
  config.num_hidden_layers -= clip_skip - 1;
  if (component_) earlier_seconds_ += component_->compile_seconds();
  component_ = std::make_unique<Component>(models::clip_text_model(config, tokens(), !names_.empty()),
                                           files_.text_encoder_weights, context_, precision_, arena_);
  component_->set_observer(observer_);
  component_->replace(replacements_);
  layers_skipped_ = clip_skip;
}

void PromptEncoder::use_adapters(const std::string& key, const exec::Replacements& replacements) {
  if (key == adapters_) return;
  adapters_.reset();
  replacements_ = replacements;
  component_->replace(replacements_);
  adapters_ = key;
}

void PromptEncoder::set_observer(const exec::Session::Observer& observer) {
  observer_ = observer;
  component_->set_observer(observer);
}

PromptPlan PromptEncoder::plan(const TextToImageRequest& request, bool negative) const {
  PromptPlan plan;
  plan.style = text::parse_prompt_style(request.prompt_style);
  plan.clip_skip = request.clip_skip;
  if (plan.clip_skip < 1 || plan.clip_skip > files_.text_encoder.num_hidden_layers)
    fail(ErrorCode::invalid_argument, "--clip-skip: expected 1 to {}, the layers of the text encoder, found {}",
         files_.text_encoder.num_hidden_layers, plan.clip_skip);
  plan.expanded = text::expand_wildcards(negative ? request.negative_prompt : request.prompt, plan.style, request.seed,
                                         negative ? 1 : 0);
  if (plan.style == PromptStyle::a1111 && !negative) {
    text::TaggedPrompt tagged = text::take_lora_tags(plan.expanded);
    plan.expanded = std::move(tagged.text);
    plan.loras = std::move(tagged.loras);
  }
  plan.branches = text::parse_schedule(plan.expanded, plan.style, request.steps, !negative);
  for (const PromptText& text : plan.texts())
    plan.chunk_counts.insert(static_cast<int64_t>(chunks(text).chunks.size()));
  return plan;
}

text::ChunkedPrompt PromptEncoder::chunks(const PromptText& text) const {
  return text::chunk_prompt(text::parse_weights(text.text, text.style), text.style, tokenizer_,
                            static_cast<int>(tokens()), names_);
}

void PromptEncoder::warn_unknown(const std::vector<std::string>& names) const {
  for (const std::string& name : names) {
    std::string why = "no --embedding is given";
    if (const auto found = embeddings_.unusable.find(name); found != embeddings_.unusable.end()) {
      why = found->second;
    } else if (!names_.empty()) {
      why = "there is";
      for (size_t i = 0; i < std::min<size_t>(names_.size(), 20); ++i) why += (i ? ", " : " ") + names_[i].name;
      if (names_.size() > 20) why += fmt::format(" and {} more", names_.size() - 20);
    }
    warn_(fmt::format("embedding:{} in the prompt is left out: {}", printable(name), printable(why, 600)));
  }
}

void PromptEncoder::encode(const std::vector<PromptText>& texts) {
  if (cache_.size() > kMaxCachedPrompts) cache_.clear();
  std::vector<PromptText> missing;
  for (const PromptText& text : texts)
    if (!cache_.contains(text) && std::find(missing.begin(), missing.end(), text) == missing.end())
      missing.push_back(text);
  std::stable_sort(missing.begin(), missing.end(),
                   [](const auto& a, const auto& b) { return a.clip_skip < b.clip_skip; });
  for (size_t begin = 0; begin < missing.size();) {
    size_t end = begin;
    while (end < missing.size() && missing[end].clip_skip == missing[begin].clip_skip) ++end;
    encode_group({missing.begin() + static_cast<ptrdiff_t>(begin), missing.begin() + static_cast<ptrdiff_t>(end)});
    begin = end;
  }
  if (!keep_) component_->drop();
}

void PromptEncoder::encode_group(const std::vector<PromptText>& texts) {
  use_layers(texts.front().clip_skip);
  before_use_(*component_);
  const int64_t length = tokens(), width = files_.text_encoder.hidden_size;
  std::vector<text::ChunkedPrompt> prompts;
  std::vector<const Chunk*> rows;
  bool from_empty = false;
  prompts.reserve(texts.size());
  for (const PromptText& text : texts) {
    prompts.push_back(chunks(text));
    if (!prompts.back().cut_text.empty())
      warn_(fmt::format("the prompt is longer than {} tokens; this part was cut: '{}'", length,
                        printable(prompts.back().cut_text, 400)));
    warn_unknown(prompts.back().unknown_embeddings);
    for (const Chunk& chunk : prompts.back().chunks) {
      rows.push_back(&chunk);
      from_empty |= text.style == PromptStyle::comfy && is_weighted(chunk);
    }
  }
  const text::ChunkedPrompt empty = chunks({PromptStyle::comfy, 1, "", ""});
  if (from_empty) rows.push_back(&empty.chunks.front());

  const std::vector<Tensor> states = run(rows);
  auto state = states.begin();
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto count = static_cast<int64_t>(prompts[i].chunks.size());
    const Tensor out = Tensor::empty(DType::f32, {count, length, width});
    for (int64_t k = 0; k < count; ++k, ++state) {
      const Chunk& chunk = prompts[i].chunks[static_cast<size_t>(k)];
      const auto z = out.rows(k, k + 1).span<float>();
      std::memcpy(z.data(), state->raw(), z.size_bytes());
      if (!is_weighted(chunk)) continue;
      if (texts[i].style == PromptStyle::comfy)
        weigh_from_empty(z, states.back().span<float>(), chunk);
      else
        weigh_and_restore_mean(z, chunk);
    }
    cache_[texts[i]] = out.reshape({1, count * length, width});
  }
}

std::vector<Tensor> PromptEncoder::run(const std::vector<const Chunk*>& chunks) {
  const int64_t length = tokens(), width = files_.text_encoder.hidden_size;
  const size_t batch = std::min(kRowsAtOnce, chunks.size());
  std::vector<Tensor> out;
  for (size_t done = 0; done < chunks.size(); done += batch) {
    const std::shared_ptr<exec::Session> session = component_->session({{"batch", static_cast<int64_t>(batch)}});
    int32_t* ids = session->tensor("input_ids").data<int32_t>();
    float* from_table = names_.empty() ? nullptr : session->tensor("from_table").data<float>();
    float* vectors = names_.empty() ? nullptr : session->tensor("vectors").data<float>();
    for (size_t row = 0; row < batch; ++row) {
      const Chunk& chunk = *chunks[std::min(done + row, chunks.size() - 1)];
      for (size_t i = 0; i < chunk.size(); ++i) {
        const size_t at = row * chunk.size() + i;
        const PromptToken& token = chunk[i];
        if (token.id >= files_.text_encoder.vocab_size)
          fail(ErrorCode::shape_mismatch,
               "{}: token {} of the tokenizer is outside the text encoder's vocab_size of {}", printable(files_.path),
               token.id, files_.text_encoder.vocab_size);
        ids[at] = token.id;
        if (!vectors) continue;
        const bool given = token.embedding >= 0;
        from_table[at] = given ? 0.0f : 1.0f;
        float* to = vectors + at * static_cast<size_t>(width);
        if (given)
          std::copy_n(
              embeddings_.all[static_cast<size_t>(token.embedding)].vectors.data<float>() + token.vector * width, width,
              to);
        else
          std::fill_n(to, width, 0.0f);
      }
    }
    session->run();
    const Tensor states = session->tensor("last_hidden_state");
    for (size_t row = 0; row < batch && done + row < chunks.size(); ++row) {
      const auto at = static_cast<int64_t>(row);
      out.push_back(states.rows(at, at + 1).reshape({length, width}).clone());
    }
  }
  return out;
}

Tensor PromptEncoder::embedding(const PromptText& text) {
  if (!cache_.contains(text)) encode({text});
  return cache_.at(text);
}

}  // namespace easel::pipelines
