#include "models/autoencoder_kl.h"

#include "models/resnet_block.h"
#include "nn/layers.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

namespace {

constexpr double kEps = 1e-6;

ResnetConfig resnet_config(const AutoencoderKLConfig& config) {
  return {.groups = config.norm_num_groups, .eps = kEps};
}

// One head over all pixels, with its own norm and a residual. x: [B, H, W, C] → [B, H, W, C]
Var attention_block(const Scope& s, const Var& x, const AutoencoderKLConfig& config) {
  const int64_t channels = x.channels();
  Var h = group_norm(s / "group_norm", x, config.norm_num_groups, kEps);
  h = reshape(h, {x.dim(0), x.dim(1) * x.dim(2), channels});  // [B, H*W, C]
  const Var q = linear(s / "to_q", h, channels);
  const Var k = linear(s / "to_k", h, channels);
  const Var v = linear(s / "to_v", h, channels);
  h = linear(s / "to_out" / "0", nn::attention(q, k, v, /*heads=*/1), channels);
  return x + reshape(h, x.shape());  // [B, H, W, C]
}

Var mid_block(const Scope& s, Var x, const AutoencoderKLConfig& config) {
  const int64_t channels = x.channels();
  x = resnet_block(s / "resnets" / "0", x, nullptr, channels, resnet_config(config));
  if (config.mid_block_add_attention) x = attention_block(s / "attentions" / "0", x, config);
  return resnet_block(s / "resnets" / "1", x, nullptr, channels, resnet_config(config));
}

Var norm_out(const Scope& s, const Var& x, int64_t channels, const AutoencoderKLConfig& config) {
  return conv3x3(s / "conv_out", silu(group_norm(s / "conv_norm_out", x, config.norm_num_groups, kEps)), channels);
}

Var picture_input(graph::Graph& graph, const char* name, int64_t channels) {
  const SymShape shape = {Dim::symbol("batch"), channels, Dim::symbol("height"), Dim::symbol("width")};
  return to_channels_last(Var(graph, graph.input(name, {DType::f32, shape}, graph::Rate::step)));
}

}  // namespace

graph::Graph autoencoder_kl_encoder(const AutoencoderKLConfig& config) {
  graph::Graph graph("vae_encoder");
  const Scope model(graph), s = model / "encoder";
  const std::vector<int64_t>& widths = config.block_out_channels;

  Var x = conv3x3(s / "conv_in", picture_input(graph, "sample", config.in_channels), widths.front());
  for (size_t i = 0; i < widths.size(); ++i) {
    const Scope block = s / "down_blocks" / i;
    for (int j = 0; j < config.layers_per_block; ++j)
      x = resnet_block(block / "resnets" / static_cast<size_t>(j), x, nullptr, widths[i], resnet_config(config));
    // Padded below and to the right only, as the original was trained.
    if (i + 1 < widths.size())
      x = conv2d(block / "downsamplers" / "0" / "conv", x, widths[i], 3, /*stride=*/2, {.bottom = 1, .right = 1});
  }
  x = norm_out(s, mid_block(s / "mid_block", x, config), 2 * config.latent_channels, config);
  if (config.use_quant_conv) x = conv1x1(model / "quant_conv", x, 2 * config.latent_channels);
  graph.output("moments", to_channels_first(x).id());  // [B, 2*latent, H/8, W/8]
  return graph;
}

graph::Graph autoencoder_kl_decoder(const AutoencoderKLConfig& config) {
  graph::Graph graph("vae_decoder");
  const Scope model(graph), s = model / "decoder";
  const std::vector<int64_t> widths(config.block_out_channels.rbegin(), config.block_out_channels.rend());

  Var x = picture_input(graph, "latents", config.latent_channels);
  if (config.use_post_quant_conv) x = conv1x1(model / "post_quant_conv", x, config.latent_channels);
  x = mid_block(s / "mid_block", conv3x3(s / "conv_in", x, widths.front()), config);
  for (size_t i = 0; i < widths.size(); ++i) {
    const Scope block = s / "up_blocks" / i;
    for (int j = 0; j < config.layers_per_block + 1; ++j)
      x = resnet_block(block / "resnets" / static_cast<size_t>(j), x, nullptr, widths[i], resnet_config(config));
    if (i + 1 < widths.size()) x = upsample(block / "upsamplers" / "0", x, x.dim(1) * 2, x.dim(2) * 2);
  }
  graph.output("decoded", to_channels_first(norm_out(s, x, config.out_channels, config)).id());  // [B, 3, H, W]
  return graph;
}

}  // namespace easel::models
