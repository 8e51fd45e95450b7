#include "graph/passes/keep_blocks.h"

namespace easel::graph {

Graph keep_blocks(const Graph& graph) {
  return graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    const bool reads_rows = std::holds_alternative<ops::LinearAttrs>(node.attrs) ||
                            std::holds_alternative<ops::Conv2dAttrs>(node.attrs) ||
                            std::holds_alternative<ops::EmbeddingAttrs>(node.attrs);
    // A convolution to a few outputs is small, and has kernels of its own that want it expanded.
    constexpr int64_t kFewOutputs = 16;
    const ConstantPtr weight = reads_rows ? graph.value(node.inputs[1]).constant : nullptr;
    if (!weight || weight->row_encoding() == BlockFormat::none) return r.copy(id);
    if (std::holds_alternative<ops::Conv2dAttrs>(node.attrs) && weight->shape()[0] <= kFewOutputs) return r.copy(id);
    std::vector<ValueId> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i)
      inputs.push_back(i == 1 ? r.to.constant(Constant::blocks(weight)) : r.map(node.inputs[i]));
    return r.add(node.attrs, std::move(inputs), id);
  });
}

}  // namespace easel::graph
