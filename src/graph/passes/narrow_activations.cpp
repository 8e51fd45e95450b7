#include "graph/passes/narrow_activations.h"

#include <algorithm>
#include <map>
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

bool is_concat(const Node& node) { return std::holds_alternative<ops::ConcatAttrs>(node.attrs); }

bool is_dense(const Node& node) {
  return std::holds_alternative<ops::LinearAttrs>(node.attrs) || std::holds_alternative<ops::Conv2dAttrs>(node.attrs);
}

bool is_repeated(const Node& node) { return std::holds_alternative<ops::UpsampleNearestAttrs>(node.attrs); }

class Readers {
 public:
  explicit Readers(const Graph& graph) : graph_(graph), users_(graph.users()), is_output_(graph.values().size()) {
    for (const Output& out : graph.outputs()) is_output_[static_cast<size_t>(out.value)] = true;
  }

  /// Whether all that reads the value, itself or a part of it, rounds it to bf16, or, if `norms`, rounds what it makes
  /// of it.
  bool all_round(ValueId id, bool norms = true) const {
    const auto& users = users_[static_cast<size_t>(id)];
    return !users.empty() && !is_output_[static_cast<size_t>(id)] &&
           std::all_of(users.begin(), users.end(), [&](NodeId user) { return rounds(graph_.node(user), id, norms); });
  }
  /// Sums of blocks meet in concatenations: these are rounded only for readers that round them anyway.
  bool joins_rounded(const Node& concat) const { return all_round(concat.output, /*norms=*/false); }
  /// Whether this layer's argument is rounded in it.
  bool rounds_argument(const Node& node) const { return is_dense(node) && rounds(node, node.inputs[0], false); }

 private:
  bool rounds(const Node& node, ValueId id, bool norms) const {
    if (is_view(node) || is_repeated(node)) return all_round(node.output, norms);
    if (is_concat(node)) return joins_rounded(node);
    const Dim& channels = graph_.value(id).type.shape.back();
    if (!channels.is_constant()) return false;
    if (is_dense(node)) {
      const Value& weight = graph_.value(node.inputs[1]);
      // Kernels read pairs, so an odd row stays as it is. The residual is added, not rounded.
      const auto* linear = std::get_if<ops::LinearAttrs>(&node.attrs);
      const bool side = linear && linear->low_rank && node.inputs[linear->low_rank_input()] == id;
      return (node.inputs[0] == id || side) && std::count(node.inputs.begin(), node.inputs.end(), id) == 1 &&
             weight.constant && weight.type.dtype == DType::bf16 && channels.value() % 2 == 0;
    }
    // A norm rounds its result: its argument, rounded alike, costs as little.
    if (std::holds_alternative<ops::GroupNormAttrs>(node.attrs))
      return norms && node.inputs[0] == id && channels.value() % 2 == 0 && all_round(node.output);
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
  std::vector<bool> parts(graph.values().size());  // of rounded concatenations
  for (const Node& node : graph.nodes())
    if (is_concat(node) && readers.joins_rounded(node))
      for (const ValueId part : node.inputs) parts[static_cast<size_t>(part)] = true;
  std::map<ValueId, ValueId> casts;  // of values in the old graph that others need unrounded
  Graph out = graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    const auto rounded = [&](ValueId value) {
      const ValueId mapped = r.map(value);
      if (r.to.value(mapped).type.dtype == DType::bf16) return mapped;
      const auto found = casts.find(value);
      return found != casts.end() ? found->second : casts[value] = r.add(ops::CastAttrs{DType::bf16}, {mapped}, id);
    };
    std::vector<ValueId> inputs;
    if (is_concat(node) && readers.joins_rounded(node)) {
      ++matches;
      for (const ValueId input : node.inputs) inputs.push_back(rounded(input));
      return r.add(node.attrs, std::move(inputs), id);
    }
    const std::optional<ops::Attrs> narrow = readers.all_round(node.output) ? narrow_result(node.attrs) : std::nullopt;
    // A rounded copy that there is anyway is the better one to read.
    const bool copied = readers.rounds_argument(node) && parts[static_cast<size_t>(node.inputs[0])];
    if (!narrow && !copied) return r.copy(id);
    matches += narrow.has_value();
    for (const ValueId input : node.inputs) inputs.push_back(r.map(input));
    if (copied) inputs[0] = rounded(node.inputs[0]);
    return r.add(narrow ? *narrow : node.attrs, std::move(inputs), id);
  });
  return {std::move(out), matches};
}

}  // namespace easel::graph
