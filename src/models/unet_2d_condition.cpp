#include "models/unet_2d_condition.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "models/ip_adapter.h"
#include "models/resnet_block.h"
#include "models/transformer_2d.h"
#include "nn/layers.h"

namespace easel::models {

using graph::Rate;
using nn::Scope;
using nn::Var;

namespace {

// Whether `part` is in `name`; a dot stands for any character, as in the regular expressions of the reference.
bool found_in(const std::string& name, const std::string& part) {
  const auto equal = [](char c, char pattern) { return pattern == '.' || c == pattern; };
  return std::search(name.begin(), name.end(), part.begin(), part.end(), equal) != name.end();
}

class UNet {
 public:
  UNet(graph::Graph& graph, const UNet2DConditionConfig& config, const UNet2DConditionVariant& variant)
      : graph_(graph),
        config_(config),
        variant_(variant),
        model_(graph),
        layers_found_(variant.perturbed_layers.size(), false) {}

  void build() {
    const Dim batch = Dim::symbol("batch");
    Var sample = input("sample", {batch, config_.in_channels, Dim::symbol("height"), Dim::symbol("width")}, Rate::step);
    context_ =
        input("encoder_hidden_states", {batch, Dim::symbol("tokens"), config_.cross_attention_dim}, Rate::request);
    if (config_.center_input_sample) sample = sample * 2.0 - nn::scalar(graph_, 1.0);
    if (!variant_.perturbed_layers.empty()) perturbation_ = input("perturbation", {batch, 1, 1}, Rate::request);
    if (variant_.freeu) freeu_ = input("freeu", {4}, Rate::request);
    if (variant_.image_prompts > 0) add_image_prompts();
    temb_ = time_embedding();  // [B, 4*channels]

    Var x = to_channels_last(sample);  // [B, H, W, in]
    x = conv2d(model_ / "conv_in", x, config_.levels.front().channels, config_.conv_in_kernel, 1,
               nn::Padding::same((config_.conv_in_kernel - 1) / 2));
    skips_ = {x};
    for (size_t i = 0; i < config_.levels.size(); ++i) x = down_block(i, x);
    if (config_.mid_block) x = mid_block(x);
    for (size_t i = 0; i < config_.levels.size(); ++i) x = up_block(i, x);
    x = activation(group_norm(model_ / "conv_norm_out", x, config_.norm_num_groups, config_.norm_eps), config_.act_fn);
    x = conv2d(model_ / "conv_out", x, config_.out_channels, config_.conv_out_kernel, 1,
               nn::Padding::same((config_.conv_out_kernel - 1) / 2));
    graph_.output("noise_pred", to_channels_first(x).id());  // [B, out, H, W]
    for (size_t i = 0; i < layers_found_.size(); ++i)
      if (!layers_found_[i])
        fail(ErrorCode::invalid_argument,
             "--pag-applied-layers: expected a part of the name of a self-attention layer, such as mid or "
             "up_blocks.1.attentions.0, found \"{}\"",
             printable(variant_.perturbed_layers[i], 60));
  }

 private:
  Var input(const std::string& name, const SymShape& shape, Rate rate, DType dtype = DType::f32) {
    return {graph_, graph_.input(name, {dtype, shape}, rate)};
  }

  // ---- embeddings --------------------------------------------------------------------------------------------------

  Var sinusoid(const Var& t, int64_t dim) const {
    ops::TimestepEmbeddingAttrs attrs;
    attrs.dim = static_cast<int>(dim);
    attrs.flip_sin_to_cos = config_.flip_sin_to_cos;
    attrs.downscale_freq_shift = config_.freq_shift;
    return timestep_embedding(t, attrs);
  }

  int64_t time_dim() const { return 4 * config_.levels.front().channels; }

  // linear_2(silu(linear_1(x))): [B, D] → [B, time_dim]
  Var embedding_mlp(const char* name, const Var& x) const {
    const Scope s = model_ / name;
    return linear(s / "linear_2", activation(linear(s / "linear_1", x, time_dim()), config_.act_fn), time_dim());
  }

  Var time_embedding() {
    const Var timestep = input("timestep", {Dim::symbol("batch")}, Rate::schedule);
    Var time = sinusoid(timestep, config_.levels.front().channels);
    if (config_.time_cond_proj_dim > 0) {
      const Var scale = input("timestep_cond", {Dim::symbol("batch"), config_.time_cond_proj_dim}, Rate::request);
      time = time + linear(model_ / "time_embedding" / "cond_proj", scale, config_.levels.front().channels, false);
    }
    Var emb = embedding_mlp("time_embedding", time);
    if (config_.class_embed_type != ClassEmbedding::none) emb = emb + class_embedding();
    if (config_.addition_embed_type == AddedEmbedding::text_time) emb = emb + added_embedding();
    return emb;
  }

  Var class_embedding() {
    const Dim batch = Dim::symbol("batch");
    switch (config_.class_embed_type) {
      case ClassEmbedding::table:
        return embedding(model_ / "class_embedding", input("class_labels", {batch}, Rate::request, DType::i32),
                         config_.num_class_embeds, time_dim());
      case ClassEmbedding::timestep:
        return embedding_mlp("class_embedding",
                             sinusoid(input("class_labels", {batch}, Rate::request), config_.levels.front().channels));
      case ClassEmbedding::projection:
        return embedding_mlp("class_embedding", input("class_labels", {batch, class_input()}, Rate::request));
      case ClassEmbedding::simple_projection:
        return linear(model_ / "class_embedding", input("class_labels", {batch, class_input()}, Rate::request),
                      time_dim());
      case ClassEmbedding::identity: return input("class_labels", {batch, time_dim()}, Rate::request);
      case ClassEmbedding::none: break;
    }
    fail(ErrorCode::internal, "unet: no class embedding is configured");
  }

  int64_t class_input() const {
    if (config_.projection_class_embeddings_input_dim <= 0)
      fail(ErrorCode::invalid_argument, "unet: expected a positive projection_class_embeddings_input_dim");
    return config_.projection_class_embeddings_input_dim;
  }

  // SDXL: pooled text and sinusoids of sizes and crops, side by side.
  Var added_embedding() {
    const Dim batch = Dim::symbol("batch");
    const int64_t ids = config_.time_ids();
    const Var text = input("text_embeds", {batch, config_.pooled_dim}, Rate::request);
    const Var time_ids = input("time_ids", {batch, ids}, Rate::request);
    const Var time = sinusoid(reshape(time_ids, {batch * ids}), config_.addition_time_embed_dim);
    return embedding_mlp("add_embedding",
                         nn::concat({text, reshape(time, {batch, ids * config_.addition_time_embed_dim})}));
  }

  void add_image_prompts() {
    const std::vector<CrossAttentionLayer> layers = cross_attention_layers(config_);
    for (const CrossAttentionLayer& layer : layers)
      images_.layer.emplace(layer.name, static_cast<int64_t>(images_.layer.size()));
    for (size_t i = 0; i < variant_.image_prompts; ++i) {
      const Dim tokens = Dim::symbol(fmt::format("ip_tokens.{}", i));
      images_.tokens.push_back(input(fmt::format("ip_hidden_states.{}", i),
                                     {Dim::symbol("batch"), tokens, config_.cross_attention_dim}, Rate::request));
      images_.scales.push_back(
          input(fmt::format("ip_scale.{}", i), {static_cast<int64_t>(layers.size())}, Rate::schedule));
    }
  }

  // ---- blocks ------------------------------------------------------------------------------------------------------

  Var resnet(const Scope& s, const Var& x, int64_t out, double scale_factor = 1) const {
    return resnet_block(
        s, x, &temb_, out,
        {config_.norm_num_groups, config_.norm_eps, config_.act_fn, config_.time_scale_shift, scale_factor});
  }

  Var transformer(const Scope& s, const Var& x, int heads, int layers, bool only_cross = false) {
    Transformer2DConfig transformer{heads, layers, config_.norm_num_groups, config_.use_linear_projection, only_cross};
    if (!variant_.perturbed_layers.empty()) {
      transformer.perturbed = [this](const std::string& name) { return is_perturbed(name); };
      transformer.perturbation = perturbation_;
    }
    if (variant_.image_prompts > 0) transformer.images = &images_;
    return transformer_2d(s, x, context_, transformer);
  }

  bool is_perturbed(const std::string& name) {
    bool any = false;
    for (size_t i = 0; i < layers_found_.size(); ++i)
      if (found_in(name, variant_.perturbed_layers[i])) any = layers_found_[i] = true;
    return any;
  }

  // What a residual block of the way up begins with: the sample and its skip side by side.
  Var join(size_t block, const Var& x, const Var& skip) const {
    if (!variant_.freeu || block > 1) return nn::concat({x, skip});  // [B, H, W, C + skip]
    const int64_t half = x.channels() / 2;
    const auto factor = [&](size_t index) { return slice(freeu_, 0, static_cast<int64_t>(index), 1); };
    return nn::concat({slice(x, -1, 0, half) * factor(block), slice(x, -1, half, x.channels() - half),
                       fourier_filter(skip, factor(2 + block))});  // [B, H, W, C + skip]
  }

  // The transformer behind a residual block, where there is one.
  Var attend(const Scope& s, const Var& x, const UNetLevel& level, const std::vector<int>& depths, size_t at) {
    if (depths.empty() || depths.at(at) == 0) return x;
    return transformer(s, x, level.heads, depths[at], level.only_cross_attention);
  }

  Var down_block(size_t i, Var x) {
    const UNetLevel& level = config_.levels[i];
    const Scope s = model_ / "down_blocks" / i;
    for (int j = 0; j < level.layers; ++j) {
      const auto index = static_cast<size_t>(j);
      x = resnet(s / "resnets" / index, x, level.channels);
      x = attend(s / "attentions" / index, x, level, level.attention_down, index);
      skips_.push_back(x);  // [B, H/2^i, W/2^i, C]
    }
    if (i + 1 < config_.levels.size()) {
      const int pad = config_.downsample_padding;
      // Padding 0 stands for the asymmetric form: one row below and one column to the right.
      const nn::Padding padding = pad == 0 ? nn::Padding{.bottom = 1, .right = 1} : nn::Padding::same(pad);
      x = conv2d(s / "downsamplers" / "0" / "conv", x, level.channels, 3, /*stride=*/2, padding);
      skips_.push_back(x);
    }
    return x;
  }

  Var mid_block(Var x) {
    const Scope s = model_ / "mid_block";
    const int64_t channels = x.channels();
    x = resnet(s / "resnets" / "0", x, channels, config_.mid_block_scale_factor);
    if (config_.mid_attention_layers == 0) return x;
    x = transformer(s / "attentions" / "0", x, config_.mid_heads, config_.mid_attention_layers);
    return resnet(s / "resnets" / "1", x, channels, config_.mid_block_scale_factor);
  }

  Var up_block(size_t i, Var x) {
    const size_t level_index = config_.levels.size() - 1 - i;
    const UNetLevel& level = config_.levels[level_index];
    const Scope s = model_ / "up_blocks" / i;
    for (int j = 0; j < level.layers + 1; ++j) {
      const auto index = static_cast<size_t>(j);
      x = join(i, x, skips_.back());  // [B, H, W, C + skip]
      skips_.pop_back();
      x = resnet(s / "resnets" / index, x, level.channels);
      x = attend(s / "attentions" / index, x, level, level.attention_up, index);
    }
    // Back to the size of the skips of the next level, which need not be twice this one.
    if (level_index > 0) x = upsample(s / "upsamplers" / "0", x, skips_.back().dim(1), skips_.back().dim(2));
    return x;
  }

  graph::Graph& graph_;
  const UNet2DConditionConfig& config_;
  const UNet2DConditionVariant& variant_;
  Scope model_;
  Var context_, temb_, perturbation_, freeu_;
  ImagePromptInputs images_;
  std::vector<Var> skips_;
  std::vector<bool> layers_found_;  // of the variant's, by their index
};

}  // namespace

graph::Graph unet_2d_condition(const UNet2DConditionConfig& config, const UNet2DConditionVariant& variant) {
  if (config.levels.empty()) fail(ErrorCode::invalid_argument, "unet: expected at least one level");
  for (const UNetLevel& level : config.levels) {
    const auto layers = static_cast<size_t>(level.layers);
    if ((!level.attention_down.empty() && level.attention_down.size() != layers) ||
        (!level.attention_up.empty() && level.attention_up.size() != layers + 1))
      fail(ErrorCode::invalid_argument, "unet: expected {} transformer depths down and {} up, found {} and {}", layers,
           layers + 1, level.attention_down.size(), level.attention_up.size());
  }
  graph::Graph graph("unet");
  UNet(graph, config, variant).build();
  return graph;
}

std::vector<float> guidance_scale_embedding(double guidance_scale, int64_t dim) {
  std::vector<float> out(static_cast<size_t>(dim), 0.0f);
  const size_t half = out.size() / 2;
  const auto w = static_cast<float>(guidance_scale - 1) * 1000.0f;
  const auto rate = static_cast<float>(std::log(10000.0)) / (static_cast<float>(half) - 1);
  for (size_t i = 0; i < half; ++i) {
    const float angle = w * std::exp(static_cast<float>(i) * -rate);
    out[i] = std::sin(angle);
    out[half + i] = std::cos(angle);
  }
  return out;
}

}  // namespace easel::models
