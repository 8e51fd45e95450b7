// The rewrites behind the names in pass.cpp; each file opens with its before → after.
#pragma once

#include "graph/passes/pass.h"

namespace easel::graph {

PassResult pointwise_conv(const Graph& graph);
PassResult fuse_attention(const Graph& graph);
PassResult merge_linears(const Graph& graph);
PassResult fuse_group_norm(const Graph& graph);
PassResult fold_scale(const Graph& graph);
PassResult fuse_epilogue(const Graph& graph);
PassResult fold_constants(const Graph& graph);

/// The attributes of the node that makes `id`, if it is an operator of that type and nothing else reads its result.
template <typename A>
const A* sole_producer(const Graph& graph, const std::vector<int>& uses, ValueId id) {
  const Node* node = graph.producer(id);
  if (!node || uses[static_cast<size_t>(id)] != 1) return nullptr;
  return std::get_if<A>(&node->attrs);
}

}  // namespace easel::graph
