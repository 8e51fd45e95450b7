// bf16 between layers that would round to it anyway.
#pragma once

#include "graph/graph.h"

namespace easel::graph {

/// before: %a = layer_norm(%x)           %y = linear(%a, @bf16(w))
/// after:  %a = layer_norm(%x) → bf16    %y = linear(%a, @bf16(w))
/// A value that only linear layers with bf16 weights and bf16 attention read is stored as bf16: they round it first
/// thing, so results keep their bits where these kernels use bf16 products, and memory traffic halves. Where they do
/// not (no such instructions), values would lose precision: the caller asks for it where it fits. Runs after
/// set_precision.
Graph narrow_activations(const Graph& graph, int* matches = nullptr);

}  // namespace easel::graph
