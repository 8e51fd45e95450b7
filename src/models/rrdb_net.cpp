#include "models/rrdb_net.h"

#include "nn/layers.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

namespace {

constexpr double kSlope = 0.2;     // of the leaky rectifiers
constexpr double kResidual = 0.2;  // how much of a branch is added

Var picture(graph::Graph& graph, const char* name, int64_t channels) {
  const SymShape shape = {Dim::symbol("batch"), Dim::symbol("height"), Dim::symbol("width"), channels};
  return {graph, graph.input(name, {DType::f32, shape}, graph::Rate::step)};
}

// Each convolution sees what all before it have made. x: [B, H, W, F] → [B, H, W, F]
Var dense_block(const Scope& s, const Var& x, const RRDBNetConfig& config) {
  Var all = x;
  for (int i = 1; i <= 4; ++i) {
    const Var made = leaky_relu(conv3x3(s / ("conv" + std::to_string(i)), all, config.num_grow_ch), kSlope);
    all = nn::concat({all, made});  // [B, H, W, F + i·G]
  }
  return conv3x3(s / "conv5", all, config.num_feat) * kResidual + x;
}

}  // namespace

graph::Graph rrdb_net_body(const RRDBNetConfig& config) {
  graph::Graph graph("upscaler_body");
  const Scope s(graph);
  Var x = picture(graph, "sample", config.in_channels);
  if (config.unshuffle > 1) x = pixel_unshuffle(x, config.unshuffle);  // [B, H/u, W/u, C·u²]
  const Var first = conv3x3(s / "conv_first", x, config.num_feat);     // [B, h, w, F]
  x = first;
  for (int i = 0; i < config.num_block; ++i) {
    const Scope block = s / "body" / static_cast<size_t>(i);
    Var h = x;
    for (const char* name : {"rdb1", "rdb2", "rdb3"}) h = dense_block(block / name, h, config);
    x = h * kResidual + x;
  }
  graph.output("features", (conv3x3(s / "conv_body", x, config.num_feat) + first).id());
  return graph;
}

graph::Graph rrdb_net_tail(const RRDBNetConfig& config) {
  graph::Graph graph("upscaler_tail");
  const Scope s(graph);
  Var x = picture(graph, "features", config.num_feat);
  for (int i = 1; i <= config.upsamplings; ++i) {
    x = upsample_nearest(x, x.dim(1) * 2, x.dim(2) * 2);
    x = leaky_relu(conv3x3(s / ("conv_up" + std::to_string(i)), x, config.num_feat), kSlope);  // [B, 2·h, 2·w, F]
  }
  x = leaky_relu(conv3x3(s / "conv_hr", x, config.num_feat), kSlope);
  graph.output("upscaled", conv3x3(s / "conv_last", x, config.out_channels).id());
  return graph;
}

}  // namespace easel::models
