#include "models/srvgg_net.h"

#include "nn/layers.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

graph::Graph srvgg_net(const SRVGGNetConfig& config) {
  graph::Graph graph("upscaler");
  const Scope body = Scope(graph) / "body";
  const SymShape shape = {Dim::symbol("batch"), Dim::symbol("height"), Dim::symbol("width"), config.in_channels};
  const Var sample(graph, graph.input("sample", {DType::f32, shape}, graph::Rate::step));
  Var x = sample;
  size_t index = 0;  // convolutions and their activations count alike
  for (int i = 0; i <= config.num_conv; ++i, index += 2) {
    x = conv3x3(body / index, x, config.num_feat);  // [B, H, W, F]
    x = prelu(x, (body / (index + 1)).weight("weight", {config.num_feat}));
  }
  x = conv3x3(body / index, x, config.out_channels * config.upscale * config.upscale);  // [B, H, W, C·s²]
  x = pixel_shuffle(x, config.upscale);                                                 // [B, s·H, s·W, C]
  graph.output("upscaled", (x + upsample_nearest(sample, x.dim(1), x.dim(2))).id());
  return graph;
}

}  // namespace easel::models
