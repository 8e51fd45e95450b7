// What the UNet and its ControlNets have in common: the embeddings, the way down and the middle.
#pragma once

#include <vector>

#include "models/transformer_2d.h"
#include "models/unet_2d_condition.h"

namespace easel::models {

/// Builds the first half of a UNet2DConditionModel into a graph, module by module. Networks derive from it, call its
/// parts in the order in which the values are made, and step in where they differ.
class UNetEncoder {
 protected:
  UNetEncoder(graph::Graph& graph, const UNet2DConditionConfig& config)
      : graph_(graph), config_(config), model_(graph) {}
  virtual ~UNetEncoder() = default;

  /// Throws invalid_argument for a configuration that does not fit together.
  static void check(const UNet2DConditionConfig& config);

  nn::Var input(const std::string& name, const SymShape& shape, graph::Rate rate, DType dtype = DType::f32) {
    return {graph_, graph_.input(name, {dtype, shape}, rate)};
  }
  /// The inputs sample and encoder_hidden_states; the first is returned, [B, in, H, W].
  nn::Var inputs();
  /// The inputs of time and of what is added to it: temb_ [B, 4·channels].
  void embed_time();
  /// [B, in, H, W] → [B, H, W, channels]
  nn::Var conv_in(const nn::Var& sample) const;
  /// Every level; what the way up reads beside it goes to skips_, `x` first.
  nn::Var down(nn::Var x);
  nn::Var mid_block(nn::Var x);

  nn::Var resnet(const nn::Scope& s, const nn::Var& x, int64_t out, double scale_factor = 1) const;
  /// The transformer behind residual block `at`, where there is one.
  nn::Var attend(const nn::Scope& s, const nn::Var& x, const UNetLevel& level, const std::vector<int>& depths,
                 size_t at);

  /// Where a network changes its transformers.
  virtual void adjust(Transformer2DConfig&) {}
  /// Where something is added to what a level gives: behind its last attention, or behind the downsampler of a level
  /// without attention. Both the skip and what follows see it.
  virtual nn::Var after_level(size_t, const nn::Var& x) { return x; }

  graph::Graph& graph_;
  const UNet2DConditionConfig& config_;
  nn::Scope model_;
  nn::Var context_, temb_;
  std::vector<nn::Var> skips_;

 private:
  nn::Var sinusoid(const nn::Var& t, int64_t dim) const;
  int64_t time_dim() const { return 4 * config_.levels.front().channels; }
  nn::Var embedding_mlp(const char* name, const nn::Var& x) const;
  nn::Var class_embedding();
  int64_t class_input() const;
  nn::Var added_embedding();
  nn::Var transformer(const nn::Scope& s, const nn::Var& x, int heads, int layers, bool only_cross = false);
  nn::Var down_block(size_t i, nn::Var x);
};

}  // namespace easel::models
