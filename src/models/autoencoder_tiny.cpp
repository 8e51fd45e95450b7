#include "models/autoencoder_tiny.h"

#include "nn/layers.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

namespace {

// The published weights are numbered as in one torch Sequential: activations and upsamplings count, too.
class Layers {
 public:
  explicit Layers(const Scope& scope) : scope_(scope) {}
  Scope next() { return scope_ / index_++; }
  void skip() { ++index_; }

 private:
  Scope scope_;
  size_t index_ = 0;
};

// Three convolutions and a shortcut; channels stay. x: [B, H, W, C] → [B, H, W, C]
Var block(const Scope& s, const Var& x, const AutoencoderTinyConfig& config) {
  const int64_t channels = x.channels();
  Var h = activation(conv3x3(s / "conv" / "0", x, channels), config.act_fn);
  h = activation(conv3x3(s / "conv" / "2", h, channels), config.act_fn);
  return activation(conv3x3(s / "conv" / "4", h, channels) + x, nn::Activation::relu);
}

Var picture_input(graph::Graph& graph, const char* name, int64_t channels) {
  const SymShape shape = {Dim::symbol("batch"), channels, Dim::symbol("height"), Dim::symbol("width")};
  return to_channels_last(Var(graph, graph.input(name, {DType::f32, shape}, graph::Rate::step)));
}

}  // namespace

int64_t AutoencoderTinyConfig::downscale() const {
  int64_t factor = 1;
  for (size_t i = 1; i < num_decoder_blocks.size(); ++i) factor *= upsampling_scaling_factor;
  return factor;
}

graph::Graph autoencoder_tiny_encoder(const AutoencoderTinyConfig& config) {
  graph::Graph graph("vae_encoder");
  Layers layers(Scope(graph, "encoder.layers"));
  const int64_t channels = config.encoder_channels;
  Var x = picture_input(graph, "sample", config.in_channels);
  x = x * 0.5 + nn::scalar(graph, 0.5);  // −1 … 1 → 0 … 1
  for (size_t level = 0; level < config.num_encoder_blocks.size(); ++level) {
    const nn::Padding same = nn::Padding::same(1);
    x = level == 0 ? conv3x3(layers.next(), x, channels)
                   : conv2d(layers.next(), x, channels, 3, /*stride=*/2, same, /*bias=*/false);  // [B, H/2, W/2, C]
    for (int i = 0; i < config.num_encoder_blocks[level]; ++i) x = block(layers.next(), x, config);
  }
  x = conv3x3(layers.next(), x, config.latent_channels);
  graph.output("latents", to_channels_first(x).id());  // [B, latent, H/8, W/8]
  return graph;
}

graph::Graph autoencoder_tiny_decoder(const AutoencoderTinyConfig& config) {
  graph::Graph graph("vae_decoder");
  Layers layers(Scope(graph, "decoder.layers"));
  const int64_t channels = config.decoder_channels;
  Var x = picture_input(graph, "latents", config.latent_channels);
  x = activation(x * (1.0 / 3), nn::Activation::tanh) * 3;  // a soft clamp to ±3
  x = activation(conv3x3(layers.next(), x, channels), config.act_fn);
  layers.skip();
  for (size_t level = 0; level < config.num_decoder_blocks.size(); ++level) {
    for (int i = 0; i < config.num_decoder_blocks[level]; ++i) x = block(layers.next(), x, config);
    if (level + 1 == config.num_decoder_blocks.size()) break;
    const int64_t factor = config.upsampling_scaling_factor;
    x = upsample_nearest(x, x.dim(1) * factor, x.dim(2) * factor);
    layers.skip();
    x = conv2d(layers.next(), x, channels, 3, 1, nn::Padding::same(1), /*bias=*/false);  // [B, 2·h, 2·w, C]
  }
  x = conv3x3(layers.next(), x, config.out_channels);
  x = x * 2 - nn::scalar(graph, 1);                    // 0 … 1 → −1 … 1
  graph.output("decoded", to_channels_first(x).id());  // [B, 3, H, W]
  return graph;
}

}  // namespace easel::models
