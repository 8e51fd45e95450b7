// before: %y = conv2d(%x, @w, ...) stride=1 pad=[0, 0, 0, 0]      w: [O, C, 1, 1]
// after:  %y = linear(%x, @reshape([O, C], w), ...)               channels last: a pixel is a row
#include "graph/passes/all.h"

namespace easel::graph {

PassResult pointwise_conv(const Graph& graph) {
  int matches = 0;
  Graph out = graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const Node& node = graph.node(id);
    const auto* conv = std::get_if<ops::Conv2dAttrs>(&node.attrs);
    const ConstantPtr weight = conv ? graph.value(node.inputs[1]).constant : nullptr;
    if (!weight || conv->stride != 1 || conv->channel_bias || weight->shape()[2] != 1 || weight->shape()[3] != 1 ||
        conv->pad_top || conv->pad_left || conv->pad_bottom || conv->pad_right)
      return r.copy(id);
    ++matches;
    std::vector<ValueId> inputs;
    for (const ValueId input : node.inputs) inputs.push_back(input == node.inputs[1] ? kNone : r.map(input));
    inputs[1] = r.to.constant(Constant::reshape(weight, {weight->shape()[0], weight->shape()[1]}));
    return r.add(ops::LinearAttrs{conv->bias, conv->residual, conv->activation}, std::move(inputs), id);
  });
  return {std::move(out), matches};
}

}  // namespace easel::graph
