#include "graph/passes/set_precision.h"

namespace easel::graph {

Graph set_precision(const Graph& graph, DType dtype) {
  if (dtype == DType::f32) return graph;
  return graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    if (const auto* attention = std::get_if<ops::AttentionAttrs>(&node.attrs); attention && dtype == DType::bf16) {
      ops::AttentionAttrs narrow = *attention;
      narrow.precision = dtype;
      return r.add(narrow, {r.map(node.inputs[0]), r.map(node.inputs[1]), r.map(node.inputs[2])}, id);
    }
    const bool dense = std::holds_alternative<ops::LinearAttrs>(node.attrs) ||
                       std::holds_alternative<ops::Conv2dAttrs>(node.attrs) ||
                       std::holds_alternative<ops::EmbeddingAttrs>(node.attrs);
    const ConstantPtr weight = dense ? graph.value(node.inputs[1]).constant : nullptr;
    if (!weight) return r.copy(id);
    const auto* linear = std::get_if<ops::LinearAttrs>(&node.attrs);
    const size_t side = linear && linear->low_rank ? linear->low_rank_input() + 1 : 1;
    std::vector<ValueId> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i)
      inputs.push_back(i == 1 || i == side ? r.to.constant(Constant::cast(graph.value(node.inputs[i]).constant, dtype))
                                           : r.map(node.inputs[i]));
    return r.add(node.attrs, std::move(inputs), id);
  });
}

}  // namespace easel::graph
