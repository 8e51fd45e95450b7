#include "models/t2i_adapter.h"

#include "base/fail.h"
#include "nn/layers.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

namespace {

using Kind = T2IAdapterConfig::Kind;

// One element of the body: what goes in and out, and whether it begins by halving the sides.
struct Block {
  int64_t in, out;
  bool halves;
};

std::vector<Block> body_of(const T2IAdapterConfig& config) {
  const std::vector<int64_t>& widths = config.channels;
  std::vector<Block> out;
  if (config.kind == Kind::light) {
    out.push_back({config.in_channels * config.downscale_factor * config.downscale_factor, widths[0], false});
    for (size_t i = 1; i < widths.size(); ++i) out.push_back({widths[i - 1], widths[i], true});
    out.push_back({widths.back(), widths.back(), true});
    return out;
  }
  for (size_t i = 0; i < widths.size(); ++i) {
    if (config.kind == Kind::full_xl)  // as the levels of SDXL's UNet, of which it halves one
      out.push_back({i == 1 || i == 2 ? widths[i - 1] : widths[i], widths[i], i == 2});
    else
      out.push_back({widths[i == 0 ? 0 : i - 1], widths[i], i > 0});
  }
  return out;
}

// The mean of each 2×2 pixels; at an uneven edge, of those that are there. Channel by channel a convolution, whose sum
// is divided by what it makes of ones.
Var halved(const Var& x) {
  graph::Graph& graph = x.graph();
  const Dim pixels_high = x.dim(1), pixels_wide = x.dim(2);
  const Var weight = {
      graph, graph.constant(graph::Constant::literal(Tensor::from({0.25f, 0.25f, 0.25f, 0.25f}, {1, 1, 2, 2})))};
  ops::Conv2dAttrs attrs;
  attrs.stride = 2;
  attrs.pad_bottom = attrs.pad_right = 1;
  const Scope here(graph, "downsample");
  const Var planes = reshape(permute(x, {0, 3, 1, 2}), {x.dim(0) * x.channels(), pixels_high, pixels_wide, 1});
  const Var ones = slice(x, -1, 0, 1) * 0.0 + nn::scalar(graph, 1.0);  // [1, H, W, 1]
  const Var sums = here.add(attrs, {planes, weight}), covered = here.add(attrs, {ones, weight});
  const Var means = here.add(ops::BinaryAttrs{ops::BinaryKind::div}, {sums, covered});  // [C, H/2, W/2, 1]
  return permute(reshape(means, {x.dim(0), x.channels(), means.dim(1), means.dim(2)}), {0, 2, 3, 1});
}

// x + block2(relu(block1(x)))
Var residual(const Scope& s, const Var& x, bool light) {
  const Var h = activation(conv3x3(s / "block1", x, x.channels()), nn::Activation::relu);
  return x + (light ? conv3x3(s / "block2", h, x.channels()) : conv1x1(s / "block2", h, x.channels()));
}

}  // namespace

std::vector<T2IAdapterConfig::Feature> T2IAdapterConfig::features() const {
  std::vector<Feature> out;
  int64_t scale = downscale_factor;
  for (const Block& block : body_of(*this)) {
    if (block.halves) scale *= 2;
    out.push_back({block.out, scale});
  }
  return out;
}

std::vector<std::string> t2i_adapter_outputs(const T2IAdapterConfig& config) {
  std::vector<std::string> out;
  for (size_t i = 0; i < body_of(config).size(); ++i) out.push_back(fmt::format("feature.{}", i));
  return out;
}

graph::Graph t2i_adapter(const T2IAdapterConfig& config) {
  if (config.channels.empty()) fail(ErrorCode::invalid_argument, "t2i_adapter: expected channels, found none");
  graph::Graph graph("t2i_adapter");
  const bool light = config.kind == Kind::light;
  const Scope model = Scope(graph) / "adapter";
  const Dim factor = config.downscale_factor;
  const SymShape shape = {1, config.in_channels, Dim::symbol("height") * factor, Dim::symbol("width") * factor};
  Var x = {graph, graph.input("picture", {DType::f32, shape}, graph::Rate::request)};
  x = pixel_unshuffle(to_channels_last(x), static_cast<int>(config.downscale_factor));  // [1, H, W, in·f²]
  if (!light) x = conv3x3(model / "conv_in", x, config.channels.front());
  const std::vector<Block> body = body_of(config);
  for (size_t i = 0; i < body.size(); ++i) {
    const Scope s = model / "body" / i;
    if (body[i].halves) x = halved(x);
    const int64_t width = light ? body[i].out / 4 : body[i].out;
    if (light || body[i].in != body[i].out) x = conv1x1(s / "in_conv", x, width);
    for (int j = 0; j < config.num_res_blocks; ++j) x = residual(s / "resnets" / static_cast<size_t>(j), x, light);
    if (light) x = conv1x1(s / "out_conv", x, body[i].out);
    graph.output(fmt::format("feature.{}", i), x.id());
  }
  return graph;
}

}  // namespace easel::models
