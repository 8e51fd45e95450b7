// before: %w = reshape(@a, ...)    (or permute, slice, concat, cast of constants; mul by a constant of one element)
// after:  @reshape([...], a)
#include <cstring>

#include "graph/passes/all.h"
#include "tensor/convert.h"

namespace easel::graph {

namespace {

bool is_scalar(const ConstantPtr& constant) {
  return constant->kind() == Constant::Kind::literal && constant->shape().numel() == 1;
}

double scalar(const ConstantPtr& constant) { return load_as_double(constant->values().raw(), constant->dtype(), 0); }

// The node as an expression over its constant inputs, or null where there is no such expression.
ConstantPtr expression(const Node& node, const std::vector<ConstantPtr>& in, const ValueType& type) {
  if (const auto* a = std::get_if<ops::ReshapeAttrs>(&node.attrs))
    return is_constant(a->shape) ? Constant::reshape(in[0], evaluate(a->shape, {})) : nullptr;
  if (const auto* a = std::get_if<ops::PermuteAttrs>(&node.attrs)) return Constant::permute(in[0], a->order);
  if (const auto* a = std::get_if<ops::SliceAttrs>(&node.attrs))
    return Constant::slice(in[0], a->axis, a->begin, a->length);
  if (const auto* a = std::get_if<ops::ConcatAttrs>(&node.attrs)) return Constant::concat(in, a->axis);
  if (const auto* a = std::get_if<ops::CastAttrs>(&node.attrs)) return Constant::cast(in[0], a->dtype);
  if (const auto* a = std::get_if<ops::BinaryAttrs>(&node.attrs); a && a->kind == ops::BinaryKind::mul) {
    for (size_t side : {0u, 1u})
      if (is_scalar(in[side]) && symbolic(in[1 - side]->shape()) == type.shape)
        return Constant::scale(in[1 - side], scalar(in[side]));
  }
  return nullptr;
}

}  // namespace

PassResult fold_constants(const Graph& graph) {
  int matches = 0;
  Graph out = graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    std::vector<ConstantPtr> constants;
    for (const ValueId input : node.inputs) {
      const ConstantPtr constant = r.to.value(r.map(input)).constant;
      if (!constant) return r.copy(id);
      constants.push_back(constant);
    }
    const ConstantPtr folded = expression(node, constants, graph.value(node.output).type);
    if (!folded) return r.copy(id);
    ++matches;
    return r.to.constant(folded);
  });
  return {std::move(out), matches};
}

}  // namespace easel::graph
