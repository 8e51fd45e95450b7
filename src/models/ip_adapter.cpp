#include "models/ip_adapter.h"

#include <fmt/format.h>

#include "graph/side_branches.h"
#include "nn/layers.h"

namespace easel::models {

using graph::Rate;
using nn::Scope;
using nn::Var;

namespace {

constexpr int64_t kHeadSize = 64;  // of every resampler

Var plain_tokens(const Scope& s, const Var& features, const IpAdapterConfig& config) {
  const Var x = linear(s / "proj", features, config.tokens * config.cross_attention_dim);
  return layer_norm(s / "norm", reshape(x, {1, config.tokens, config.cross_attention_dim}));  // [1, T, D]
}

Var full_tokens(const Scope& s, const Var& features, const IpAdapterConfig& config) {
  const Var hidden = activation(linear(s / "proj" / "0", features, config.feed_forward_dim), nn::Activation::gelu_erf);
  return layer_norm(s / "proj" / "3", linear(s / "proj" / "2", hidden, config.cross_attention_dim));  // [1, T, D]
}

// The latents look at the picture and at themselves. x: [1, N, hidden]; latents: [1, T, hidden] → [1, T, hidden].
Var perceiver_attention(const Scope& s, const Var& x, const Var& latents, const IpAdapterConfig& config) {
  const int64_t inner = config.heads * kHeadSize;
  const Var own = layer_norm(s / "norm2", latents);
  const Var both = nn::concat({layer_norm(s / "norm1", x), own}, 1);  // [1, N + T, hidden]
  const Var q = linear(s / "to_q", own, inner, /*bias=*/false);
  const Var kv = linear(s / "to_kv", both, 2 * inner, /*bias=*/false);
  const Var mixed = nn::attention(q, slice(kv, -1, 0, inner), slice(kv, -1, inner, inner), config.heads);
  return linear(s / "to_out", mixed, config.hidden_dim, /*bias=*/false);
}

Var feed_forward(const Scope& s, const Var& x, const IpAdapterConfig& config) {
  const Var hidden = linear(s / "1", layer_norm(s / "0", x), config.feed_forward_dim, /*bias=*/false);
  return linear(s / "3", activation(hidden, nn::Activation::gelu_erf), config.hidden_dim, /*bias=*/false);
}

Var resampled_tokens(const Scope& s, const Var& features, const IpAdapterConfig& config) {
  Var latents = s.weight("latents", {1, config.tokens, config.hidden_dim});
  const Var x = linear(s / "proj_in", features, config.hidden_dim);
  for (int i = 0; i < config.depth; ++i) {
    const Scope layer = s / "layers" / static_cast<size_t>(i);
    latents = perceiver_attention(layer / "0", x, latents, config) + latents;
    latents = feed_forward(layer / "1", latents, config) + latents;
  }
  return layer_norm(s / "norm_out", linear(s / "proj_out", latents, config.cross_attention_dim));  // [1, T, D]
}

// A matrix that no file of the model holds: what is in the slot supplies it.
Var slot_linear(const Var& tokens, const std::string& weight, const std::string& layer, int64_t out) {
  graph::Graph& graph = tokens.graph();
  const Var matrix(graph, graph.constant(graph::Constant::weight(weight, {out, tokens.channels()})));
  // Keys and values of a slot become one product: they are layers of one module.
  return Scope(graph, layer + ".image").add(ops::LinearAttrs{}, {tokens, matrix});
}

}  // namespace

graph::Graph ip_adapter_tokens(const IpAdapterConfig& config, int64_t states) {
  graph::Graph graph("image_proj");
  const Scope s = Scope(graph) / "image_proj";
  const bool plain = config.kind == IpAdapterKind::plain;
  const SymShape shape = plain ? SymShape{1, config.image_dim} : SymShape{1, states, config.image_dim};
  const Var features(graph, graph.input("features", {DType::f32, shape}, Rate::request));
  const Var tokens = plain                                ? plain_tokens(s, features, config)
                     : config.kind == IpAdapterKind::plus ? resampled_tokens(s, features, config)
                                                          : full_tokens(s, features, config);
  graph.output("tokens", tokens.id());
  return graph;
}

std::vector<CrossAttentionLayer> cross_attention_layers(const UNet2DConditionConfig& config) {
  std::vector<CrossAttentionLayer> out;
  const auto add = [&](const std::string& block, size_t attention, int depth, int64_t channels) {
    for (int i = 0; i < depth; ++i)
      out.push_back({fmt::format("{}.attentions.{}.transformer_blocks.{}.attn2", block, attention, i), channels});
  };
  const auto add_all = [&](const std::string& block, const std::vector<int>& depths, int64_t channels) {
    for (size_t j = 0; j < depths.size(); ++j) add(block, j, depths[j], channels);
  };
  const size_t levels = config.levels.size();
  for (size_t i = 0; i < levels; ++i)
    add_all(fmt::format("down_blocks.{}", i), config.levels[i].attention_down, config.levels[i].channels);
  for (size_t i = 0; i < levels; ++i) {
    const UNetLevel& level = config.levels[levels - 1 - i];
    add_all(fmt::format("up_blocks.{}", i), level.attention_up, level.channels);
  }
  if (config.mid_block) add("mid_block", 0, config.mid_attention_layers, config.levels.back().channels);
  return out;
}

std::string ip_adapter_key_weight(size_t slot, const std::string& layer) {
  return graph::added_weight(fmt::format("image prompt {}: {}.to_k_ip.weight", slot, layer));
}
std::string ip_adapter_value_weight(size_t slot, const std::string& layer) {
  return graph::added_weight(fmt::format("image prompt {}: {}.to_v_ip.weight", slot, layer));
}

Var image_attention(const Var& q, const ImagePromptInputs& images, const std::string& layer, int heads) {
  Var sum;
  for (size_t i = 0; i < images.tokens.size(); ++i) {
    const Var& tokens = images.tokens[i];
    const Var k = slot_linear(tokens, ip_adapter_key_weight(i, layer), layer, q.channels());  // [B, T, C]
    const Var v = slot_linear(tokens, ip_adapter_value_weight(i, layer), layer, q.channels());
    // Scaling the few values instead of what they make keeps the factor out of the step.
    const Var scale = slice(images.scales[i], 0, images.layer.at(layer), 1);
    const Var mixed = nn::attention(q, k, v * scale, heads);  // [B, S, C]
    sum = i == 0 ? mixed : sum + mixed;
  }
  return sum;
}

}  // namespace easel::models
