#include "graph/passes/narrow_activations.h"

#include <algorithm>
#include <optional>

namespace easel::graph {

namespace {

// The attributes with a bf16 result; nothing if the operator cannot make one.
std::optional<ops::Attrs> narrow_result(ops::Attrs attrs) {
  const bool can = std::visit(
      [](auto& a) {
        if constexpr (requires { a.result; }) a.result = DType::bf16;
        return requires { a.result; };
      },
      attrs);
  return can ? std::optional(attrs) : std::nullopt;
}

bool is_view(const Node& node) {
  return std::holds_alternative<ops::ReshapeAttrs>(node.attrs) || std::holds_alternative<ops::SliceAttrs>(node.attrs);
}

class Readers {
 public:
  explicit Readers(const Graph& graph) : graph_(graph), users_(graph.users()), is_output_(graph.values().size()) {
    for (const Output& out : graph.outputs()) is_output_[static_cast<size_t>(out.value)] = true;
  }

  /// Whether all that reads the value, itself or a part of it, rounds it to bf16.
  bool all_round(ValueId id) const {
    const auto& users = users_[static_cast<size_t>(id)];
    return !users.empty() && !is_output_[static_cast<size_t>(id)] &&
           std::all_of(users.begin(), users.end(), [&](NodeId user) { return rounds(graph_.node(user), id); });
  }

 private:
  bool rounds(const Node& node, ValueId id) const {
    if (is_view(node)) return all_round(node.output);
    const Dim& channels = graph_.value(id).type.shape.back();
    if (!channels.is_constant()) return false;
    if (std::holds_alternative<ops::LinearAttrs>(node.attrs) || std::holds_alternative<ops::Conv2dAttrs>(node.attrs)) {
      const Value& weight = graph_.value(node.inputs[1]);
      // Kernels read pairs, so an odd row stays as it is. The residual is added, not rounded.
      const auto* linear = std::get_if<ops::LinearAttrs>(&node.attrs);
      const bool side = linear && linear->low_rank && node.inputs[linear->low_rank_input()] == id;
      return (node.inputs[0] == id || side) && std::count(node.inputs.begin(), node.inputs.end(), id) == 1 &&
             weight.constant && weight.type.dtype == DType::bf16 && channels.value() % 2 == 0;
    }
    const auto* attention = std::get_if<ops::AttentionAttrs>(&node.attrs);
    return attention && attention->precision == DType::bf16 && attention->scale > 0 &&
           channels.value() % (2 * attention->heads) == 0;
  }

  const Graph& graph_;
  std::vector<std::vector<NodeId>> users_;
  std::vector<bool> is_output_;
};

}  // namespace

PassResult narrow_activations(const Graph& graph) {
  const Readers readers(graph);
  int matches = 0;
  Graph out = graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    const std::optional<ops::Attrs> narrow = readers.all_round(node.output) ? narrow_result(node.attrs) : std::nullopt;
    if (!narrow) return r.copy(id);
    ++matches;
    std::vector<ValueId> inputs;
    for (const ValueId input : node.inputs) inputs.push_back(r.map(input));
    return r.add(*narrow, std::move(inputs), id);
  });
  return {std::move(out), matches};
}

}  // namespace easel::graph
