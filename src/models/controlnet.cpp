#include "models/controlnet.h"

#include "base/fail.h"
#include "models/unet_encoder.h"
#include "nn/layers.h"

namespace easel::models {

using graph::Rate;
using nn::Scope;
using nn::Var;

namespace {

class ControlNet final : UNetEncoder {
 public:
  ControlNet(graph::Graph& graph, const ControlNetConfig& config, bool accumulates)
      : UNetEncoder(graph, config.encoder), control_(config), accumulates_(accumulates) {
    check(config.encoder);
    if (config.conditioning_embedding_out_channels.empty())
      fail(ErrorCode::invalid_argument, "controlnet: expected conditioning_embedding_out_channels, found none");
  }

  void build() {
    const Var sample = inputs();
    const int64_t factor = control_.picture_factor();
    const Var picture =
        input("controlnet_cond",
              {1, control_.conditioning_channels, Dim::symbol("height") * factor, Dim::symbol("width") * factor},
              Rate::request);
    const auto residuals = static_cast<int64_t>(control_.skips()) + 1;
    scales_ = input("conditioning_scales", {Dim::symbol("batch"), residuals}, Rate::step);
    embed_time();

    Var x = down(conv_in(sample) + embedding(picture));
    if (config_.mid_block) x = mid_block(x);
    const std::vector<std::string> outputs = control_net_outputs(control_), targets = control_net_targets(control_);
    for (size_t i = 0; i <= skips_.size(); ++i) {
      const bool mid = i == skips_.size();
      const Scope s = mid ? model_ / "controlnet_mid_block" : model_ / "controlnet_down_blocks" / i;
      graph_.output(outputs[i], residual(s, mid ? x : skips_[i], i, targets[i]).id());
    }
  }

 private:
  // [1, C, f·H, f·W] → [1, H, W, channels]
  Var embedding(const Var& picture) const {
    const Scope s = model_ / "controlnet_cond_embedding";
    const std::vector<int64_t>& widths = control_.conditioning_embedding_out_channels;
    Var x = to_channels_last(picture);  // [1, f·H, f·W, C]
    if (control_.bgr) {
      std::vector<Var> channels;
      for (int64_t c = x.channels(); c-- > 0;) channels.push_back(slice(x, -1, c, 1));
      x = nn::concat(channels);
    }
    x = nn::silu(conv3x3(s / "conv_in", x, widths.front()));
    for (size_t i = 0; i + 1 < widths.size(); ++i) {
      x = nn::silu(conv3x3(s / "blocks" / (2 * i), x, widths[i]));
      x = nn::silu(conv2d(s / "blocks" / (2 * i + 1), x, widths[i + 1], 3, /*stride=*/2, nn::Padding::same(1)));
    }
    return conv3x3(s / "conv_out", x, config_.levels.front().channels);
  }

  // scale · zero_conv(x), and what other networks gave: [B, H, W, C]
  Var residual(const Scope& s, const Var& x, size_t index, const std::string& target) {
    Var y = conv1x1(s, x, x.channels());
    if (control_.global_pool_conditions) y = upsample_nearest(mean_over_picture(y), x.dim(1), x.dim(2));
    const Var scale = slice(scales_, 1, static_cast<int64_t>(index), 1);  // [B, 1]
    y = y * reshape(scale, {x.dim(0), 1, 1, 1});
    return accumulates_ ? y + input(target, x.shape(), Rate::step) : y;
  }

  // [B, H, W, C] → [B, 1, 1, C]: a product with weights that are all 1/(H·W), the softmax of zeros.
  Var mean_over_picture(const Var& x) const {
    const Dim pixels = x.dim(1) * x.dim(2);
    const Var values = reshape(x, {x.dim(0), pixels, x.channels()});
    const Var zeros = reshape(slice(values, -1, 0, 1) * 0.0, {x.dim(0), 1, pixels});
    return reshape(matmul(softmax(zeros), values), {x.dim(0), 1, 1, x.channels()});
  }

  const ControlNetConfig& control_;
  bool accumulates_;
  Var scales_;
};

}  // namespace

size_t ControlNetConfig::skips() const {
  size_t count = 1;
  for (const UNetLevel& level : encoder.levels) count += static_cast<size_t>(level.layers) + 1;
  return count - 1;  // the last level has no downsampler
}

std::vector<std::string> control_net_outputs(const ControlNetConfig& config) {
  std::vector<std::string> out;
  for (size_t i = 0; i < config.skips(); ++i) out.push_back(fmt::format("down_block_res_samples.{}", i));
  out.emplace_back("mid_block_res_sample");
  return out;
}

std::vector<std::string> control_net_targets(const ControlNetConfig& config) {
  std::vector<std::string> out;
  for (size_t i = 0; i < config.skips(); ++i) out.push_back(control_residual_name(i));
  out.emplace_back(kMidResidual);
  return out;
}

graph::Graph control_net(const ControlNetConfig& config, bool accumulates) {
  graph::Graph graph("controlnet");
  ControlNet(graph, config, accumulates).build();
  return graph;
}

}  // namespace easel::models
