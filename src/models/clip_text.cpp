#include "models/clip_text.h"

#include "base/fail.h"
#include "models/clip_encoder.h"
#include "nn/layers.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

namespace {

ClipEncoderLayer layer_of(const ClipTextConfig& config) {
  return {config.hidden_size,    config.intermediate_size, config.num_attention_heads,
          config.layer_norm_eps, config.hidden_act,        /*causal=*/true};
}

}  // namespace

graph::Graph clip_text_model(const ClipTextConfig& config, int64_t tokens, const ClipTextOptions& options) {
  const int wanted = options.hidden_layers.value_or(config.num_hidden_layers);
  if (wanted < 0 || wanted > config.num_hidden_layers || (options.pooled && config.projection_dim <= 0))
    fail(ErrorCode::invalid_argument, "text encoder: expected 0 to {} layers and a projection for pooled states",
         config.num_hidden_layers);
  graph::Graph graph("text_encoder");
  const Scope model(graph);
  const Dim batch = Dim::symbol("batch");
  const Var ids(graph, graph.input("input_ids", {DType::i32, {batch, tokens}}, graph::Rate::request));
  const auto input = [&](const char* name, const Dim& rows, int64_t width) {
    return Var(graph, graph.input(name, {DType::f32, {batch, rows, width}}, graph::Rate::request));
  };

  const Scope embeddings = model / "embeddings";
  Var x = embedding(embeddings / "token_embedding", ids, config.vocab_size, config.hidden_size);  // [B, S, width]
  if (options.given_vectors) x = x * input("from_table", tokens, 1) + input("vectors", tokens, config.hidden_size);
  const Var positions =
      (embeddings / "position_embedding").weight("weight", {config.max_position_embeddings, config.hidden_size});
  x = x + slice(positions, 0, 0, tokens);

  const Scope layers = model / "encoder" / "layers";
  Var hidden = x;
  for (int i = 0; i < (options.pooled ? config.num_hidden_layers : wanted); ++i) {
    x = clip_encoder_layer(layers / static_cast<size_t>(i), x, layer_of(config));
    if (i + 1 == wanted) hidden = x;
  }
  if (options.hidden_layers) graph.output("hidden_state", hidden.id());
  if (options.hidden_layers && !options.pooled) return graph;
  const Var last = layer_norm(model / "final_layer_norm", x, config.layer_norm_eps);
  if (!options.hidden_layers) graph.output("last_hidden_state", last.id());
  if (options.pooled) {
    const Var token = matmul(input("pooled_token", 1, tokens), last);  // [B, 1, width]
    const Var pooled = linear(model / "text_projection", token, config.projection_dim, /*bias=*/false);
    graph.output("pooled", reshape(pooled, {batch, config.projection_dim}).id());  // [B, projection_dim]
  }
  return graph;
}

}  // namespace easel::models
