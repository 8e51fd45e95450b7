// before: %q4 = permute(reshape(%q, [B, S, H, D])) [0, 2, 1, 3]     (same for %k, %v)
//         %s = matmul(%q4, %k4) alpha=scale transpose_b
//         %o = matmul(softmax(%s), %v4)
//         %y = reshape(permute(%o) [0, 2, 1, 3], [B, S, H*D])
// after:  %y = attention(%q, %k, %v) heads=H scale=scale
#include "graph/passes/all.h"

namespace easel::graph {

namespace {

const std::vector<int> kSwapHeads = {0, 2, 1, 3};

template <typename A>
const A* match(const Graph& graph, ValueId id) {
  const Node* node = graph.producer(id);
  return node ? std::get_if<A>(&node->attrs) : nullptr;
}
ValueId operand(const Graph& graph, ValueId id, size_t index) { return graph.producer(id)->inputs[index]; }

bool swaps_heads(const Graph& graph, ValueId id) {
  const auto* permute = match<ops::PermuteAttrs>(graph, id);
  return permute && permute->order == kSwapHeads;
}

// [B, H, S, D] made from [B, S, H*D]: the latter, or kNone.
ValueId split_heads_source(const Graph& graph, ValueId id) {
  if (!swaps_heads(graph, id)) return kNone;
  const ValueId split = operand(graph, id, 0);
  if (!match<ops::ReshapeAttrs>(graph, split)) return kNone;
  const ValueId source = operand(graph, split, 0);
  const SymShape &from = graph.value(source).type.shape, &to = graph.value(split).type.shape;
  if (from.size() != 3 || to.size() != 4 || from[0] != to[0] || from[1] != to[1]) return kNone;
  return source;
}

}  // namespace

PassResult fuse_attention(const Graph& graph) {
  int matches = 0;
  Graph out = graph.rewrite([&](Graph::Rewriter& r, NodeId id) {
    const ValueId y = graph.node(id).output;
    if (!match<ops::ReshapeAttrs>(graph, y)) return r.copy(id);
    const ValueId merged = operand(graph, y, 0);
    if (!swaps_heads(graph, merged)) return r.copy(id);
    const ValueId o = operand(graph, merged, 0);
    const auto* weighted = match<ops::MatmulAttrs>(graph, o);
    if (!weighted || weighted->transpose_b || weighted->alpha != 1.0) return r.copy(id);
    const ValueId probabilities = operand(graph, o, 0);
    const auto* softmax = match<ops::SoftmaxAttrs>(graph, probabilities);
    if (!softmax) return r.copy(id);
    const ValueId scores = operand(graph, probabilities, 0);
    const auto* product = match<ops::MatmulAttrs>(graph, scores);
    if (!product || !product->transpose_b) return r.copy(id);
    const ValueId q = split_heads_source(graph, operand(graph, scores, 0));
    const ValueId k = split_heads_source(graph, operand(graph, scores, 1));
    const ValueId v = split_heads_source(graph, operand(graph, o, 1));
    if (q == kNone || k == kNone || v == kNone) return r.copy(id);
    const Dim& heads = graph.value(o).type.shape[1];
    if (!heads.is_constant() || graph.value(y).type.shape != graph.value(q).type.shape) return r.copy(id);
    ++matches;
    ops::AttentionAttrs attention;
    attention.heads = static_cast<int>(heads.value());
    attention.scale = product->alpha;
    attention.causal = softmax->causal;
    return r.add(attention, {r.map(q), r.map(k), r.map(v)}, id);
  });
  return {std::move(out), matches};
}

}  // namespace easel::graph
