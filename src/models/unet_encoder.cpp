#include "models/unet_encoder.h"

#include "base/fail.h"
#include "models/resnet_block.h"
#include "nn/layers.h"

namespace easel::models {

using graph::Rate;
using nn::Scope;
using nn::Var;

void UNetEncoder::check(const UNet2DConditionConfig& config) {
  if (config.levels.empty()) fail(ErrorCode::invalid_argument, "unet: expected at least one level");
  for (const UNetLevel& level : config.levels) {
    const auto layers = static_cast<size_t>(level.layers);
    if ((!level.attention_down.empty() && level.attention_down.size() != layers) ||
        (!level.attention_up.empty() && level.attention_up.size() != layers + 1))
      fail(ErrorCode::invalid_argument, "unet: expected {} transformer depths down and {} up, found {} and {}", layers,
           layers + 1, level.attention_down.size(), level.attention_up.size());
  }
}

// ---- inputs --------------------------------------------------------------------------------------------------------

Var UNetEncoder::inputs() {
  const Dim batch = Dim::symbol("batch");
  Var sample = input("sample", {batch, config_.in_channels, Dim::symbol("height"), Dim::symbol("width")}, Rate::step);
  context_ = input("encoder_hidden_states", {batch, Dim::symbol("tokens"), config_.cross_attention_dim}, Rate::request);
  return sample;
}

Var UNetEncoder::conv_in(const Var& sample) const {
  const Var x = to_channels_last(sample);  // [B, H, W, in]
  return conv2d(model_ / "conv_in", x, config_.levels.front().channels, config_.conv_in_kernel, 1,
                nn::Padding::same((config_.conv_in_kernel - 1) / 2));
}

// ---- embeddings ----------------------------------------------------------------------------------------------------

Var UNetEncoder::sinusoid(const Var& t, int64_t dim) const {
  ops::TimestepEmbeddingAttrs attrs;
  attrs.dim = static_cast<int>(dim);
  attrs.flip_sin_to_cos = config_.flip_sin_to_cos;
  attrs.downscale_freq_shift = config_.freq_shift;
  return timestep_embedding(t, attrs);
}

// linear_2(silu(linear_1(x))): [B, D] → [B, time_dim]
Var UNetEncoder::embedding_mlp(const char* name, const Var& x) const {
  const Scope s = model_ / name;
  return linear(s / "linear_2", activation(linear(s / "linear_1", x, time_dim()), config_.act_fn), time_dim());
}

void UNetEncoder::embed_time() {
  const Var timestep = input("timestep", {Dim::symbol("batch")}, Rate::schedule);
  Var time = sinusoid(timestep, config_.levels.front().channels);
  if (config_.time_cond_proj_dim > 0) {
    const Var scale = input("timestep_cond", {Dim::symbol("batch"), config_.time_cond_proj_dim}, Rate::request);
    time = time + linear(model_ / "time_embedding" / "cond_proj", scale, config_.levels.front().channels, false);
  }
  Var emb = embedding_mlp("time_embedding", time);
  if (config_.class_embed_type != ClassEmbedding::none) emb = emb + class_embedding();
  if (config_.addition_embed_type == AddedEmbedding::text_time) emb = emb + added_embedding();
  temb_ = emb;
}

Var UNetEncoder::class_embedding() {
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

int64_t UNetEncoder::class_input() const {
  if (config_.projection_class_embeddings_input_dim <= 0)
    fail(ErrorCode::invalid_argument, "unet: expected a positive projection_class_embeddings_input_dim");
  return config_.projection_class_embeddings_input_dim;
}

// SDXL: pooled text and sinusoids of sizes and crops, side by side.
Var UNetEncoder::added_embedding() {
  const Dim batch = Dim::symbol("batch");
  const int64_t ids = config_.time_ids();
  const Var text = input("text_embeds", {batch, config_.pooled_dim}, Rate::request);
  const Var time_ids = input("time_ids", {batch, ids}, Rate::request);
  const Var time = sinusoid(reshape(time_ids, {batch * ids}), config_.addition_time_embed_dim);
  return embedding_mlp("add_embedding",
                       nn::concat({text, reshape(time, {batch, ids * config_.addition_time_embed_dim})}));
}

// ---- blocks --------------------------------------------------------------------------------------------------------

Var UNetEncoder::resnet(const Scope& s, const Var& x, int64_t out, double scale_factor) const {
  return resnet_block(
      s, x, &temb_, out,
      {config_.norm_num_groups, config_.norm_eps, config_.act_fn, config_.time_scale_shift, scale_factor});
}

Var UNetEncoder::transformer(const Scope& s, const Var& x, int heads, int layers, bool only_cross) {
  Transformer2DConfig transformer;
  transformer.heads = heads;
  transformer.layers = layers;
  transformer.groups = config_.norm_num_groups;
  transformer.use_linear_projection = config_.use_linear_projection;
  transformer.only_cross_attention = only_cross;
  adjust(transformer);
  return transformer_2d(s, x, context_, transformer);
}

Var UNetEncoder::attend(const Scope& s, const Var& x, const UNetLevel& level, const std::vector<int>& depths,
                        size_t at) {
  if (depths.empty() || depths.at(at) == 0) return x;
  return transformer(s, x, level.heads, depths[at], level.only_cross_attention);
}

Var UNetEncoder::down(Var x) {
  skips_ = {x};
  for (size_t i = 0; i < config_.levels.size(); ++i) x = down_block(i, x);
  return x;
}

Var UNetEncoder::down_block(size_t i, Var x) {
  const UNetLevel& level = config_.levels[i];
  const Scope s = model_ / "down_blocks" / i;
  const bool shrinks = i + 1 < config_.levels.size(), plain = level.attention_down.empty();
  for (int j = 0; j < level.layers; ++j) {
    const auto index = static_cast<size_t>(j);
    x = resnet(s / "resnets" / index, x, level.channels);
    x = attend(s / "attentions" / index, x, level, level.attention_down, index);
    if (j + 1 == level.layers && (!plain || !shrinks)) x = after_level(i, x);
    skips_.push_back(x);  // [B, H/2^i, W/2^i, C]
  }
  if (shrinks) {
    const int pad = config_.downsample_padding;
    // Padding 0 stands for the asymmetric form: one row below and one column to the right.
    const nn::Padding padding = pad == 0 ? nn::Padding{.bottom = 1, .right = 1} : nn::Padding::same(pad);
    x = conv2d(s / "downsamplers" / "0" / "conv", x, level.channels, 3, /*stride=*/2, padding);
    if (plain) x = after_level(i, x);
    skips_.push_back(x);
  }
  return x;
}

Var UNetEncoder::mid_block(Var x) {
  const Scope s = model_ / "mid_block";
  const int64_t channels = x.channels();
  x = resnet(s / "resnets" / "0", x, channels, config_.mid_block_scale_factor);
  if (config_.mid_attention_layers == 0) return x;
  x = transformer(s / "attentions" / "0", x, config_.mid_heads, config_.mid_attention_layers);
  return resnet(s / "resnets" / "1", x, channels, config_.mid_block_scale_factor);
}

}  // namespace easel::models
