// The precision of dense layers and attention.
#pragma once

#include "graph/graph.h"

namespace easel::graph {

/// before: %y = linear(%x, @w)               %a = attention(%q, %k, %v)
/// after:  %y = linear(%x, @bf16(w))         %a = attention(%q, %k, %v) bf16
/// Weights of linear, conv2d and embedding become `dtype` (f32 changes nothing); norms, biases and element-wise work
/// stay f32, and so do activations between layers. Runs after the passes, which make attention nodes. Not a pass of the
/// list: it changes results, so the caller asks.
Graph set_precision(const Graph& graph, DType dtype);

}  // namespace easel::graph
