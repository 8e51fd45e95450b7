// before: %c = conv2d(%x, @w, @b)   %y = mul(%c, @0.2)
// after:  %y = conv2d(%x, @scale(0.2, w), @scale(0.2, b))
// The same for linear. A factor on the way out of a layer without activation costs nothing in its weights.
#include "graph/passes/all.h"

namespace easel::graph {

namespace {

// The value of a constant of one element, if that is what `id` is.
const float* scalar_of(const Graph& graph, ValueId id) {
  const ConstantPtr& constant = graph.value(id).constant;
  if (!constant || constant->kind() != Constant::Kind::literal || constant->dtype() != DType::f32) return nullptr;
  return constant->shape().numel() == 1 ? constant->values().data<float>() : nullptr;
}

// Whether a layer is linear in its weight and bias together.
template <typename A>
bool plain(const A& attrs) {
  return !attrs.residual && attrs.activation == ops::Activation::none;
}

}  // namespace

PassResult fold_scale(const Graph& graph) {
  int matches = 0;
  const std::vector<int> uses = graph.use_counts();
  Graph out = graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    const auto* binary = std::get_if<ops::BinaryAttrs>(&node.attrs);
    if (!binary || binary->kind != ops::BinaryKind::mul) return r.copy(id);
    for (const size_t side : {0u, 1u}) {
      const float* factor = scalar_of(graph, node.inputs[1 - side]);
      const ValueId target = node.inputs[side];
      if (!factor || graph.value(target).type.shape != graph.value(node.output).type.shape) continue;
      const auto* conv = sole_producer<ops::Conv2dAttrs>(graph, uses, target);
      const auto* linear = sole_producer<ops::LinearAttrs>(graph, uses, target);
      if (!(conv && plain(*conv) && !conv->channel_bias) && !(linear && plain(*linear))) continue;
      const Node& layer = *graph.producer(target);
      std::vector<ValueId> inputs = {r.map(layer.inputs[0])};
      for (size_t i = 1; i < layer.inputs.size(); ++i) {
        const ConstantPtr& constant = graph.value(layer.inputs[i]).constant;
        if (!constant) return r.copy(id);
        inputs.push_back(r.to.constant(Constant::scale(constant, *factor)));
      }
      ++matches;
      return r.add(layer.attrs, std::move(inputs), graph.value(target).producer);
    }
    return r.copy(id);
  });
  return {std::move(out), matches};
}

}  // namespace easel::graph
