// before: %l = linear(%x, @w)   %b = add(%l, @bias)   %g = activation(%b) silu   %y = add(%g, %r)
// after:  %y = linear(%x, @w, @bias, %r) bias residual silu
// The same for conv2d, whose epilogue also takes one offset per picture and channel:
//         add(conv2d(...), reshape(%t, [B, 1, 1, O])) → conv2d(..., %t) channel_bias
// and a slope per channel:
//         prelu(conv2d(...), @slope) → conv2d(..., @slope) prelu
#include "graph/passes/all.h"

namespace easel::graph {

namespace {

using ops::Activation;

// One view of the epilogue for both kinds of dense layer.
struct Dense {
  const Node* node = nullptr;
  ops::LinearAttrs linear;
  ops::Conv2dAttrs conv;
  bool is_conv = false;

  bool bias() const { return is_conv ? conv.bias : linear.bias; }
  bool residual() const { return is_conv ? conv.residual : linear.residual; }
  bool channel_bias() const { return is_conv && conv.channel_bias; }
  Activation activation() const { return is_conv ? conv.activation : linear.activation; }
};

bool find_dense(const Graph& graph, const std::vector<int>& uses, ValueId id, Dense& out) {
  if (const auto* linear = sole_producer<ops::LinearAttrs>(graph, uses, id))
    out.linear = *linear;
  else if (const auto* conv = sole_producer<ops::Conv2dAttrs>(graph, uses, id))
    out.conv = *conv, out.is_conv = true;
  else
    return false;
  out.node = graph.producer(id);
  return true;
}

// The fused node stands where the dense layer stood: sums and activations have no name of their own.
ValueId emit(Graph::Rewriter& r, const Dense& dense, std::vector<ValueId> inputs) {
  const NodeId like = r.from.value(dense.node->output).producer;
  return dense.is_conv ? r.add(dense.conv, std::move(inputs), like) : r.add(dense.linear, std::move(inputs), like);
}

std::vector<ValueId> mapped_inputs(Graph::Rewriter& r, const Dense& dense) {
  std::vector<ValueId> inputs;
  for (const ValueId input : dense.node->inputs) inputs.push_back(r.map(input));
  return inputs;
}

// [B, 1, 1, O] reshaped from [B, O]: the latter, or kNone.
ValueId per_channel_source(const Graph& graph, ValueId id, const SymShape& result) {
  const Node* node = graph.producer(id);
  if (!node || !std::holds_alternative<ops::ReshapeAttrs>(node->attrs)) return kNone;
  if (graph.value(id).type.shape != SymShape{result[0], 1, 1, result[3]}) return kNone;
  const ValueId source = node->inputs[0];
  return graph.value(source).type.shape == SymShape{result[0], result[3]} ? source : kNone;
}

// add(dense, other): a bias, a per-channel offset or a residual; kNone where it does not fit.
ValueId fuse_add(Graph::Rewriter& r, const Graph& graph, const std::vector<int>& uses, NodeId id, size_t side) {
  const Node& node = graph.node(id);
  const ValueId target = node.inputs[side], other = node.inputs[1 - side];
  const SymShape& result = graph.value(node.output).type.shape;
  Dense dense;
  if (target == other || !find_dense(graph, uses, target, dense) || dense.residual()) return kNone;
  if (graph.value(target).type.shape != result) return kNone;
  std::vector<ValueId> inputs = mapped_inputs(r, dense);
  if (graph.value(other).type.shape == SymShape{result.back()} && graph.value(other).constant) {
    if (dense.bias() || dense.channel_bias() || dense.activation() != Activation::none) return kNone;
    (dense.is_conv ? dense.conv.bias : dense.linear.bias) = true;
    inputs.insert(inputs.begin() + 2, r.map(other));
    return emit(r, dense, std::move(inputs));
  }
  if (dense.is_conv && !dense.channel_bias() && dense.activation() == Activation::none) {
    if (const ValueId source = per_channel_source(graph, other, result); source != kNone) {
      dense.conv.channel_bias = true;
      inputs.push_back(r.map(source));
      return emit(r, dense, std::move(inputs));
    }
  }
  if (graph.value(other).type.shape != result) return kNone;
  (dense.is_conv ? dense.conv.residual : dense.linear.residual) = true;
  inputs.insert(inputs.end() - (!dense.is_conv && dense.linear.low_rank ? 2 : 0), r.map(other));
  return emit(r, dense, std::move(inputs));
}

ValueId fuse_activation(Graph::Rewriter& r, const Graph& graph, const std::vector<int>& uses, NodeId id,
                        Activation kind) {
  Dense dense;
  if (!find_dense(graph, uses, graph.node(id).inputs[0], dense)) return kNone;
  if (dense.residual() || dense.activation() != Activation::none) return kNone;
  if (kind == Activation::geglu && dense.is_conv) return kNone;
  (dense.is_conv ? dense.conv.activation : dense.linear.activation) = kind;
  return emit(r, dense, mapped_inputs(r, dense));
}

// prelu(conv, slope); kNone where it does not fit.
ValueId fuse_prelu(Graph::Rewriter& r, const Graph& graph, const std::vector<int>& uses, NodeId id) {
  const Node& node = graph.node(id);
  Dense dense;
  if (!find_dense(graph, uses, node.inputs[0], dense) || !dense.is_conv) return kNone;
  if (dense.residual() || dense.activation() != Activation::none) return kNone;
  dense.conv.activation = Activation::prelu;
  std::vector<ValueId> inputs = mapped_inputs(r, dense);
  inputs.push_back(r.map(node.inputs[1]));
  return emit(r, dense, std::move(inputs));
}

Graph fuse_once(const Graph& graph, int& matches) {
  const std::vector<int> uses = graph.use_counts();
  return graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    ValueId fused = kNone;
    if (const auto* binary = std::get_if<ops::BinaryAttrs>(&node.attrs);
        binary && binary->kind == ops::BinaryKind::add) {
      // The operand that is made later is the branch; the earlier one is what it is added to.
      const size_t later = graph.value(node.inputs[0]).producer > graph.value(node.inputs[1]).producer ? 0 : 1;
      fused = fuse_add(r, graph, uses, id, later);
      if (fused == kNone) fused = fuse_add(r, graph, uses, id, 1 - later);
    } else if (const auto* activation = std::get_if<ops::ActivationAttrs>(&node.attrs)) {
      fused = fuse_activation(r, graph, uses, id, activation->kind);
    } else if (std::holds_alternative<ops::PReluAttrs>(node.attrs)) {
      fused = fuse_prelu(r, graph, uses, id);
    } else if (std::holds_alternative<ops::GegluAttrs>(node.attrs)) {
      fused = fuse_activation(r, graph, uses, id, Activation::geglu);
    }
    if (fused == kNone) return r.copy(id);
    ++matches;
    return fused;
  });
}

}  // namespace

PassResult fuse_epilogue(const Graph& graph) {
  PassResult result{graph, 0};
  for (int before = -1; before != result.matches;) {  // each round fuses one more link of a chain
    before = result.matches;
    result.graph = fuse_once(result.graph, result.matches);
  }
  return result;
}

}  // namespace easel::graph
