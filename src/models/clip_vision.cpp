#include "models/clip_vision.h"

#include "base/fail.h"
#include "models/clip_encoder.h"
#include "nn/layers.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

graph::Graph clip_vision_model(const ClipVisionConfig& config, ClipVisionOutput output) {
  const int64_t width = config.hidden_size, grid = config.patch_size > 0 ? config.image_size / config.patch_size : 0;
  if (grid < 1 || config.num_attention_heads < 1 || width % config.num_attention_heads != 0 ||
      config.num_hidden_layers < 1)
    fail(ErrorCode::invalid_argument,
         "image encoder: expected patches smaller than the picture and a width divided by the heads, found {} of {} "
         "pixels and {} by {}",
         config.patch_size, config.image_size, width, config.num_attention_heads);
  graph::Graph graph("image_encoder");
  const Scope root(graph), model = root / "vision_model", embeddings = model / "embeddings";
  const int64_t side = config.image_size;
  const Var pixels(
      graph, graph.input("pixel_values", {DType::f32, {1, config.num_channels, side, side}}, graph::Rate::request));

  Var patches = conv2d(embeddings / "patch_embedding", to_channels_last(pixels), width, config.patch_size,
                       config.patch_size, {}, /*bias=*/false);  // [1, grid, grid, width]
  patches = reshape(patches, {1, grid * grid, width});
  const Var first = reshape(embeddings.weight("class_embedding", {width}), {1, 1, width});
  Var x = nn::concat({first, patches}, 1);  // [1, tokens, width]
  x = x + (embeddings / "position_embedding").weight("weight", {config.tokens(), width});
  x = layer_norm(model / "pre_layrnorm", x, config.layer_norm_eps);  // spelled so in every published file

  const ClipEncoderLayer layer = {
      width,           config.intermediate_size, config.num_attention_heads, config.layer_norm_eps, config.hidden_act,
      /*causal=*/false};
  const bool embeds = output == ClipVisionOutput::image_embeds;
  for (int i = 0; i < config.num_hidden_layers - (embeds ? 0 : 1); ++i)
    x = clip_encoder_layer(model / "encoder" / "layers" / static_cast<size_t>(i), x, layer);
  if (!embeds) {
    graph.output("penultimate_states", x.id());
    return graph;
  }
  const Var token = layer_norm(model / "post_layernorm", slice(x, 1, 0, 1), config.layer_norm_eps);  // [1, 1, width]
  const Var embed = linear(root / "visual_projection", token, config.projection_dim, /*bias=*/false);
  graph.output("image_embeds", reshape(embed, {1, config.projection_dim}).id());  // [1, projection_dim]
  return graph;
}

}  // namespace easel::models
