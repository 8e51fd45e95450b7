#include "graph/side_branches.h"

#include <string>
#include <string_view>

namespace easel::graph {

namespace {

constexpr std::string_view kDown = "adapter down ", kUp = "adapter up ", kAdded = "adapter ";

// "block.attn1.to_q" → "block.attn1.down_to_q": a module of its own beside the layer, so that branches of layers that
// read the same value become one product as the layers do.
std::string branch_scope(const std::string& scope) {
  const size_t dot = scope.rfind('.');
  return dot == std::string::npos ? "down_" + scope : scope.substr(0, dot + 1) + "down_" + scope.substr(dot + 1);
}

}  // namespace

std::string side_down(const std::string& weight, int64_t rank) {
  return std::string(kDown) + std::to_string(rank) + ": " + weight;
}
std::string side_up(const std::string& weight, int64_t rank) {
  return std::string(kUp) + std::to_string(rank) + ": " + weight;
}
std::string added_weight(const std::string& name) { return std::string(kAdded) + name; }
bool is_side_weight(const std::string& name) { return name.starts_with(kAdded); }

Graph with_side_branches(const Graph& graph, const SideRanks& ranks) {
  return graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    const auto* linear = std::get_if<ops::LinearAttrs>(&node.attrs);
    const auto* conv = std::get_if<ops::Conv2dAttrs>(&node.attrs);
    const ConstantPtr weight = linear || conv ? graph.value(node.inputs[1]).constant : nullptr;
    const auto found =
        weight && weight->kind() == Constant::Kind::weight ? ranks.find(weight->weight_name()) : ranks.end();
    if (found == ranks.end()) return r.copy(id);
    Shape down_shape = weight->shape();
    down_shape[0] = found->second;
    const ValueId x = r.map(node.inputs[0]);
    const ValueId down = r.to.constant(Constant::weight(side_down(found->first, found->second), down_shape));
    const ValueId up =
        r.to.constant(Constant::weight(side_up(found->first, found->second), {weight->shape()[0], found->second}));
    if (linear) {
      const ValueId t = r.to.add(ops::LinearAttrs{}, {x, down}, branch_scope(node.scope));
      ops::LinearAttrs attrs = *linear;
      attrs.low_rank = true;
      std::vector<ValueId> inputs;
      for (const ValueId input : node.inputs) inputs.push_back(r.map(input));
      inputs.insert(inputs.end(), {t, up});
      return r.add(attrs, std::move(inputs), id);
    }
    ops::Conv2dAttrs attrs = *conv;
    attrs.bias = false;
    const ValueId t = r.to.add(attrs, {x, down}, branch_scope(node.scope));
    const ValueId side = r.add(ops::LinearAttrs{}, {t, up}, id);
    return r.add(ops::BinaryAttrs{ops::BinaryKind::add}, {r.copy(id), side}, id);
  });
}

}  // namespace easel::graph
