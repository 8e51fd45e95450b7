#include "models/clip_text.h"

#include "nn/layers.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

namespace {

Var self_attention(const Scope& s, const Var& x, int heads) {
  const int64_t width = x.channels();
  const Var q = linear(s / "q_proj", x, width);
  const Var k = linear(s / "k_proj", x, width);
  const Var v = linear(s / "v_proj", x, width);
  return linear(s / "out_proj", nn::attention(q, k, v, heads, /*causal=*/true), width);  // [B, S, width]
}

Var mlp(const Scope& s, const Var& x, const ClipTextConfig& config) {
  const Var hidden = activation(linear(s / "fc1", x, config.intermediate_size), config.hidden_act);
  return linear(s / "fc2", hidden, config.hidden_size);
}

Var encoder_layer(const Scope& s, Var x, const ClipTextConfig& config) {
  x = x + self_attention(s / "self_attn", layer_norm(s / "layer_norm1", x, config.layer_norm_eps),
                         config.num_attention_heads);
  return x + mlp(s / "mlp", layer_norm(s / "layer_norm2", x, config.layer_norm_eps), config);
}

}  // namespace

graph::Graph clip_text_model(const ClipTextConfig& config, int64_t tokens, bool given_vectors) {
  graph::Graph graph("text_encoder");
  const Scope model(graph);
  const Var ids(graph, graph.input("input_ids", {DType::i32, {Dim::symbol("batch"), tokens}}, graph::Rate::request));

  const Scope embeddings = model / "embeddings";
  Var x = embedding(embeddings / "token_embedding", ids, config.vocab_size, config.hidden_size);  // [B, S, width]
  if (given_vectors) {
    const auto input = [&](const char* name, int64_t width) {
      return Var(graph, graph.input(name, {DType::f32, {Dim::symbol("batch"), tokens, width}}, graph::Rate::request));
    };
    x = x * input("from_table", 1) + input("vectors", config.hidden_size);
  }
  const Var positions =
      (embeddings / "position_embedding").weight("weight", {config.max_position_embeddings, config.hidden_size});
  x = x + slice(positions, 0, 0, tokens);

  const Scope layers = model / "encoder" / "layers";
  for (int i = 0; i < config.num_hidden_layers; ++i) x = encoder_layer(layers / static_cast<size_t>(i), x, config);
  graph.output("last_hidden_state", layer_norm(model / "final_layer_norm", x, config.layer_norm_eps).id());
  return graph;
}

}  // namespace easel::models
