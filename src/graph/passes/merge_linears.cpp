// before: %q = linear(%x, @wq)   %k = linear(%x, @wk)   %v = linear(%x, @wv)     in one module
// after:  %m = linear(%x, @concat(0, wq, wk, wv))
//         %q = slice(%m) begin=0 ...   %k = slice(%m) ...   %v = slice(%m) ...
#include <map>

#include "graph/passes/all.h"

namespace easel::graph {

namespace {

// "block.attn1.to_q" → "block.attn1"
std::string parent(const std::string& scope) {
  const size_t dot = scope.rfind('.');
  return dot == std::string::npos ? "" : scope.substr(0, dot);
}

}  // namespace

PassResult merge_linears(const Graph& graph) {
  // Layers of one module that read the same value, agree on having a bias, and are stored alike: rows in blocks of
  // several formats would have to be expanded.
  std::map<std::tuple<ValueId, std::string, bool, BlockFormat>, std::vector<NodeId>> groups;
  for (size_t n = 0; n < graph.nodes().size(); ++n) {
    const Node& node = graph.nodes()[n];
    const auto* linear = std::get_if<ops::LinearAttrs>(&node.attrs);
    if (!linear || linear->residual || linear->low_rank || linear->activation != ops::Activation::none) continue;
    if (!graph.value(node.inputs[1]).constant || (linear->bias && !graph.value(node.inputs[2]).constant)) continue;
    const BlockFormat encoding = graph.value(node.inputs[1]).constant->row_encoding();
    groups[{node.inputs[0], parent(node.scope), linear->bias, encoding}].push_back(static_cast<NodeId>(n));
  }
  std::map<NodeId, const std::vector<NodeId>*> group_of;
  int matches = 0;
  for (const auto& [key, members] : groups) {
    if (members.size() < 2) continue;
    ++matches;
    for (const NodeId member : members) group_of[member] = &members;
  }
  std::map<const std::vector<NodeId>*, ValueId> merged;
  Graph out = graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const auto found = group_of.find(id);
    if (found == group_of.end()) return r.copy(id);
    const std::vector<NodeId>& members = *found->second;
    const bool bias = std::get<ops::LinearAttrs>(graph.node(id).attrs).bias;
    if (!merged.contains(&members)) {
      std::vector<ConstantPtr> weights, biases;
      for (const NodeId member : members) {
        weights.push_back(graph.value(graph.node(member).inputs[1]).constant);
        if (bias) biases.push_back(graph.value(graph.node(member).inputs[2]).constant);
      }
      std::vector<ValueId> inputs = {r.map(graph.node(id).inputs[0]), r.to.constant(Constant::concat(weights, 0))};
      if (bias) inputs.push_back(r.to.constant(Constant::concat(biases, 0)));
      merged[&members] = r.add(ops::LinearAttrs{bias}, std::move(inputs), id);
    }
    ops::SliceAttrs slice;
    for (const NodeId member : members) {
      slice.length = graph.value(graph.node(member).output).type.shape.back().value();
      if (member == id) break;
      slice.begin += slice.length;
    }
    return r.add(slice, {merged[&members]}, id);
  });
  return {std::move(out), matches};
}

}  // namespace easel::graph
