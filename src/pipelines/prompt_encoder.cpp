#include "pipelines/prompt_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/fail.h"
#include "models/clip_text.h"
#include "sampling/names.h"

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

PromptEncoder::PromptEncoder(const ModelFiles& files, std::vector<text::ClipTokenizer> tokenizers,
                             const LoadOptions& options, device::ContextPtr context, DType precision,
                             std::shared_ptr<exec::Arena> arena, std::function<void(Component&)> before_use)
    : files_(files),
      warn_(options.warn),
      keep_(options.keep_text_encoder),
      keep_blocks_(!options.expand_weights),
      context_(std::move(context)),
      precision_(precision),
      arena_(std::move(arena)),
      before_use_(std::move(before_use)) {
  std::vector<InversionSlot> slots;
  for (const TextEncoderFiles& encoder : files.text_encoders)
    slots.push_back({encoder.name == "text_encoder_2" ? "clip_g" : "clip_l", encoder.config.hidden_size});
  embeddings_ = read_textual_inversions(options.embeddings, slots);
  for (const TextualInversion& embedding : embeddings_.all)
    names_.push_back({embedding.name, static_cast<int>(embedding.vectors.front().dim(0))});
  for (text::ClipTokenizer& tokenizer : tokenizers) {
    encoders_.push_back({std::move(tokenizer), nullptr, 0, 0, {}});
    use_layers(encoders_.size() - 1, default_clip_skip());
  }
}

int64_t PromptEncoder::tokens() const {
  int64_t length = encoders_.front().tokenizer.max_length();
  for (size_t i = 0; i < encoders_.size(); ++i)
    length = std::min<int64_t>(
        {length, encoders_[i].tokenizer.max_length(), files_.text_encoders[i].config.max_position_embeddings});
  return length;
}

void PromptEncoder::use_adapters(const std::string& key,
                                 const std::map<std::string, exec::Replacements>& replacements) {
  if (key == adapters_) return;
  adapters_.reset();
  replacements_ = replacements;
  for (size_t i = 0; i < encoders_.size(); ++i) encoders_[i].component->replace(replacements_[name(i)]);
  adapters_ = key;
}

void PromptEncoder::use_layers(size_t index, int clip_skip) {
  Encoder& encoder = encoders_[index];
  if (encoder.clip_skip == clip_skip) return;
  models::ClipTextConfig config = files_.text_encoders[index].config;
  models::ClipTextOptions options{.given_vectors = !names_.empty()};
  const int layers = config.num_hidden_layers - (clip_skip - 1);
  if (is_xl(files_.family)) {
    options.hidden_layers = layers;  // without the final norm, which the pooled text has
    options.pooled = config.projection_dim > 0;
  } else {
    config.num_hidden_layers = layers;
  }
  if (encoder.component) encoder.earlier_seconds += encoder.component->compile_seconds();
  encoder.component =
      std::make_unique<Component>(models::clip_text_model(config, tokens(), options),
                                  files_.text_encoders[index].weights, context_, precision_, arena_, keep_blocks_);
  encoder.component->set_observer(encoder.observer);
  encoder.component->replace(replacements_[name(index)]);
  encoder.clip_skip = clip_skip;
}

void PromptEncoder::set_observer(const std::function<exec::Session::Observer(const std::string& name)>& observer) {
  for (size_t i = 0; i < encoders_.size(); ++i) {
    encoders_[i].observer = observer(name(i));
    encoders_[i].component->set_observer(encoders_[i].observer);
  }
}

double PromptEncoder::compile_seconds() const {
  double sum = 0;
  for (const Encoder& encoder : encoders_) sum += encoder.earlier_seconds + encoder.component->compile_seconds();
  return sum;
}

void PromptEncoder::check_second(const TextToImageRequest& request) const {
  const auto check = [&](const char* option, const std::string& text) {
    if (text.empty()) return;
    if (encoders_.size() < 2)
      fail(ErrorCode::invalid_argument, "{}: expected a model with two text encoders (Stable Diffusion XL), found {}",
           option, files_.family_name());
    if (text::parse_prompt_style(request.prompt_style) == PromptStyle::a1111)
      fail(ErrorCode::invalid_argument, "{}: expected the prompt style plain or comfy, found a1111", option);
  };
  check("--prompt-2", request.prompt_2);
  check("--negative-prompt-2", request.negative_prompt_2);
  if (!request.negative_prompt_2.empty() && !request.negative_prompt)
    fail(ErrorCode::invalid_argument, "--negative-prompt-2: expected with --negative-prompt, found it alone");
}

PromptPlan PromptEncoder::plan(const TextToImageRequest& request, bool negative) const {
  check_second(request);
  PromptPlan plan;
  plan.style = text::parse_prompt_style(request.prompt_style);
  plan.clip_skip = request.clip_skip == 0 ? default_clip_skip() : request.clip_skip;
  int layers = files_.text_encoders.front().config.num_hidden_layers;
  for (const TextEncoderFiles& encoder : files_.text_encoders)
    layers = std::min(layers, encoder.config.num_hidden_layers);
  // SDXL can take the states before the first layer.
  const int most = is_xl(files_.family) ? layers + 1 : layers;
  if (plan.clip_skip < 1 || plan.clip_skip > most)
    fail(ErrorCode::invalid_argument, "--clip-skip: expected 1 to {}, the layers of the text encoder, found {}", most,
         plan.clip_skip);
  const std::string given = negative ? request.negative_prompt.value_or("") : request.prompt;
  plan.expanded = text::expand_wildcards(given, plan.style, request.seed, negative ? 1 : 0);
  plan.second = text::expand_wildcards(negative ? request.negative_prompt_2 : request.prompt_2, plan.style,
                                       request.seed, negative ? 3 : 2);
  // The web UI takes an empty text for an absent one.
  plan.absent = negative && files_.force_zeros_for_empty_prompt &&
                (!request.negative_prompt || (given.empty() && plan.style == PromptStyle::a1111));
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

text::ChunkedPrompt PromptEncoder::chunks(const PromptText& text, size_t index) const {
  text::ChunkedPrompt out = own_chunks(text, index);
  if (text.second.empty()) return out;
  const PromptText nothing{.style = text.style};
  const size_t count =
      std::max(own_chunks(text, 0).chunks.size(), own_chunks(text, encoders_.size() - 1).chunks.size());
  while (out.chunks.size() < count) out.chunks.push_back(own_chunks(nothing, index).chunks.front());
  return out;
}

text::ChunkedPrompt PromptEncoder::own_chunks(const PromptText& text, size_t index) const {
  // ComfyUI and the web UI have one tokenizer for both encoders; diffusers has two.
  const bool shared = text.style != PromptStyle::plain;
  const text::ClipTokenizer& own = encoders_[index].tokenizer;
  const std::string& words = index > 0 && !text.second.empty() ? text.second : text.text;
  text::ChunkedPrompt out =
      text::chunk_prompt(text::parse_weights(words, text.style), text.style, shared ? encoders_.front().tokenizer : own,
                         static_cast<int>(tokens()), names_);
  for (Chunk& chunk : out.chunks)
    for (PromptToken& token : chunk)
      if (token.padding) token.id = own.pad_id();
  return out;
}

void PromptEncoder::warn_unknown(const std::vector<std::string>& names) const {
  for (const std::string& name : names) {
    std::string why = "no --embedding is given";
    if (const auto found = embeddings_.unusable.find(name); found != embeddings_.unusable.end()) {
      why = found->second;
    } else if (!names_.empty()) {
      std::vector<std::string> known;
      for (const text::EmbeddingName& embedding : names_) known.push_back(embedding.name);
      why = "there is none of that name" + sampling::near_names(sampling::normalized(name), known);
    }
    warn_(fmt::format("embedding:{} in the prompt is left out: {}", printable(name), printable(why, 600)));
  }
}

void PromptEncoder::encode(const std::vector<PromptText>& texts) {
  if (cache_.size() > kMaxCachedPrompts) cache_.clear();
  std::vector<PromptText> missing;
  for (const PromptText& text : texts) {
    if (cache_.contains(text) || std::find(missing.begin(), missing.end(), text) != missing.end()) continue;
    if (text.absent)
      cache_[text] = zeros();
    else
      missing.push_back(text);
  }
  std::stable_sort(missing.begin(), missing.end(),
                   [](const auto& a, const auto& b) { return a.clip_skip < b.clip_skip; });
  for (size_t begin = 0; begin < missing.size();) {
    size_t end = begin;
    while (end < missing.size() && missing[end].clip_skip == missing[begin].clip_skip) ++end;
    encode_group({missing.begin() + static_cast<ptrdiff_t>(begin), missing.begin() + static_cast<ptrdiff_t>(end)});
    begin = end;
  }
  if (!keep_)
    for (Encoder& encoder : encoders_) encoder.component->drop();
}

PromptEncoder::Encoded PromptEncoder::zeros() const {
  Encoded out;
  int64_t width = 0;
  for (const TextEncoderFiles& encoder : files_.text_encoders) {
    width += encoder.config.hidden_size;
    if (encoder.config.projection_dim > 0) out.pooled = Tensor::zeros(DType::f32, {1, encoder.config.projection_dim});
  }
  out.states = Tensor::zeros(DType::f32, {1, tokens(), width});
  return out;
}

void PromptEncoder::encode_group(const std::vector<PromptText>& texts) {
  std::vector<std::vector<std::vector<Row>>> parts;  // by encoder, text, chunk
  for (size_t i = 0; i < encoders_.size(); ++i) parts.push_back(encode_with(i, texts));
  const int64_t length = tokens();
  for (size_t i = 0; i < texts.size(); ++i) {
    const size_t count = parts.front()[i].size();
    int64_t width = 0;
    for (const auto& part : parts) width += part[i].front().states.dim(1);
    Encoded out;
    out.states = Tensor::empty(DType::f32, {1, static_cast<int64_t>(count) * length, width});
    int64_t column = 0;
    for (const auto& part : parts) {
      const int64_t own = part[i].front().states.dim(1);
      for (size_t chunk = 0; chunk < count; ++chunk)
        for (int64_t token = 0; token < length; ++token)
          std::copy_n(part[i][chunk].states.data<float>() + token * own, own,
                      out.states.data<float>() + (static_cast<int64_t>(chunk) * length + token) * width + column);
      column += own;
      const Tensor& pooled = part[i].front().pooled;
      if (pooled.defined()) out.pooled = pooled.reshape({1, pooled.numel()});
    }
    cache_[texts[i]] = out;
  }
}

std::vector<std::vector<PromptEncoder::Row>> PromptEncoder::encode_with(size_t index,
                                                                        const std::vector<PromptText>& texts) {
  use_layers(index, texts.front().clip_skip);
  before_use_(*encoders_[index].component);
  std::vector<text::ChunkedPrompt> prompts;
  std::vector<const Chunk*> rows;
  bool from_empty = false;
  prompts.reserve(texts.size());
  for (const PromptText& text : texts) {
    prompts.push_back(chunks(text, index));
    if (index == 0 || !text.second.empty()) {
      if (!prompts.back().cut_text.empty())
        warn_(fmt::format("the prompt is longer than {} tokens; this part was cut: '{}'", tokens(),
                          printable(prompts.back().cut_text, 400)));
      warn_unknown(prompts.back().unknown_embeddings);
    }
    for (const Chunk& chunk : prompts.back().chunks) {
      rows.push_back(&chunk);
      from_empty |= text.style == PromptStyle::comfy && is_weighted(chunk);
    }
  }
  const text::ChunkedPrompt empty = chunks({.style = PromptStyle::comfy}, index);
  if (from_empty) rows.push_back(&empty.chunks.front());

  const std::vector<Row> states = run(index, rows);
  auto state = states.begin();
  std::vector<std::vector<Row>> out(texts.size());
  for (size_t i = 0; i < texts.size(); ++i)
    for (const Chunk& chunk : prompts[i].chunks) {
      const Row& row = out[i].emplace_back(*state++);
      if (!is_weighted(chunk)) continue;
      const auto z = row.states.span<float>();
      if (texts[i].style == PromptStyle::comfy)
        weigh_from_empty(z, states.back().states.span<float>(), chunk);
      else
        weigh_and_restore_mean(z, chunk);
    }
  return out;
}

int64_t PromptEncoder::pooled_token(size_t index, const Chunk& chunk) const {
  const int64_t eos = files_.text_encoders[index].config.eos_token_id;
  constexpr int64_t kByLargestId = 2;
  const auto at = eos == kByLargestId
                      ? std::max_element(chunk.begin(), chunk.end(),
                                         [](const PromptToken& a, const PromptToken& b) { return a.id < b.id; })
                      : std::find_if(chunk.begin(), chunk.end(),
                                     [&](const PromptToken& t) { return t.embedding < 0 && t.id == eos; });
  return at == chunk.end() ? 0 : at - chunk.begin();
}

std::vector<PromptEncoder::Row> PromptEncoder::run(size_t index, const std::vector<const Chunk*>& chunks) {
  const models::ClipTextConfig& config = files_.text_encoders[index].config;
  const int64_t length = tokens(), width = config.hidden_size;
  const bool xl = is_xl(files_.family), pooled = xl && config.projection_dim > 0;
  const size_t batch = std::min(kRowsAtOnce, chunks.size());
  std::vector<Row> out;
  for (size_t done = 0; done < chunks.size(); done += batch) {
    const std::shared_ptr<exec::Session> session =
        encoders_[index].component->session({{"batch", static_cast<int64_t>(batch)}});
    int32_t* ids = session->tensor("input_ids").data<int32_t>();
    float* from_table = names_.empty() ? nullptr : session->tensor("from_table").data<float>();
    float* vectors = names_.empty() ? nullptr : session->tensor("vectors").data<float>();
    for (size_t row = 0; row < batch; ++row) {
      const Chunk& chunk = *chunks[std::min(done + row, chunks.size() - 1)];
      for (size_t i = 0; i < chunk.size(); ++i) {
        const size_t at = row * chunk.size() + i;
        const PromptToken& token = chunk[i];
        if (token.id >= config.vocab_size)
          fail(ErrorCode::shape_mismatch,
               "{}: token {} of the tokenizer is outside the text encoder's vocab_size of {}", printable(files_.path),
               token.id, config.vocab_size);
        ids[at] = token.id;
        if (!vectors) continue;
        const bool given = token.embedding >= 0;
        from_table[at] = given ? 0.0f : 1.0f;
        float* to = vectors + at * static_cast<size_t>(width);
        if (given) {
          const Tensor& all = embeddings_.all[static_cast<size_t>(token.embedding)].vectors[index];
          std::copy_n(all.data<float>() + token.vector * width, width, to);
        } else {
          std::fill_n(to, width, 0.0f);
        }
      }
      if (!pooled) continue;
      float* selected = session->tensor("pooled_token").data<float>() + static_cast<int64_t>(row) * length;
      std::fill_n(selected, length, 0.0f);
      selected[pooled_token(index, chunk)] = 1;
    }
    session->run();
    const Tensor states = session->tensor(xl ? "hidden_state" : "last_hidden_state");
    for (size_t row = 0; row < batch && done + row < chunks.size(); ++row) {
      const auto at = static_cast<int64_t>(row);
      out.push_back({states.rows(at, at + 1).reshape({length, width}).clone(), {}});
      if (pooled)
        out.back().pooled = session->tensor("pooled").rows(at, at + 1).reshape({config.projection_dim}).clone();
    }
  }
  return out;
}

const PromptEncoder::Encoded& PromptEncoder::encoded(const PromptText& text) {
  if (!cache_.contains(text)) encode({text});
  return cache_.at(text);
}

}  // namespace easel::pipelines
