// Splitting a graph by how often its parts must run.
#pragma once

#include "graph/graph.h"

namespace easel::graph {

/// One entry program of a bundle: what has to run when inputs of its rate changed.
struct Entry {
  Rate rate;
  Graph graph;  ///< reads and writes persistent values as inputs and outputs of their names
};

/// A graph cut into entries, slowest first. Values that a faster entry reads from a slower one are persistent: they
/// keep their contents between runs.
struct Bundle {
  std::vector<Entry> entries;
  std::vector<std::string> persistent;  ///< names: an output of one entry, an input of later ones
};

/// before: request: %e    step: %x    %k = linear(%e, @w)    %y = attention(%x, %k, ...)
/// after:  entry request: keep.0 = linear(%e, @w)            entry step: %y = attention(%x, keep.0, ...)
/// With hoisting off, everything is one entry of the fastest rate.
Bundle hoist(const Graph& graph, bool enabled = true);

}  // namespace easel::graph
