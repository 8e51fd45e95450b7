// before: %n = group_norm(%x, @w, @b)   %y = activation(%n) silu
// after:  %y = group_norm(%x, @w, @b) silu
#include "graph/passes/all.h"

namespace easel::graph {

PassResult fuse_group_norm(const Graph& graph) {
  int matches = 0;
  const std::vector<int> uses = graph.use_counts();
  Graph out = graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    const auto* activation = std::get_if<ops::ActivationAttrs>(&node.attrs);
    if (!activation || activation->kind != ops::Activation::silu) return r.copy(id);
    const auto* norm = sole_producer<ops::GroupNormAttrs>(graph, uses, node.inputs[0]);
    if (!norm || norm->activation != ops::Activation::none) return r.copy(id);
    ++matches;
    ops::GroupNormAttrs fused = *norm;
    fused.activation = ops::Activation::silu;
    std::vector<ValueId> inputs;
    for (const ValueId input : graph.producer(node.inputs[0])->inputs) inputs.push_back(r.map(input));
    return r.add(fused, std::move(inputs), graph.value(node.inputs[0]).producer);
  });
  return {std::move(out), matches};
}

}  // namespace easel::graph
