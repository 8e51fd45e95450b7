// Passes rewrite a graph into an equal, cheaper one; the runner gives each a name, a switch, a timer and a check.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace easel::graph {

struct PassResult {
  Graph graph;
  int matches = 0;  ///< rewrites made
};

struct Pass {
  const char* name;
  const char* what;     ///< one line: before → after
  const char* order;    ///< why it stands where it stands in the list
  bool inference_only;  ///< would lose what a gradient needs
  PassResult (*run)(const Graph& graph);
};

/// All passes that keep a graph's meaning, in the order they run.
std::span<const Pass> passes();

struct PassOptions {
  std::set<std::string> disabled;  ///< names of passes to skip
  /// Called after each pass that ran, with the graph it left.
  std::function<void(const Pass&, const Graph&)> dump;
  bool verify = true;
};

struct PassReport {
  std::string name;
  int matches = 0;
  double seconds = 0;
  size_t nodes_after = 0;
};

/// Runs the list. Throws invalid_argument for a disabled name that is no pass, internal if a pass broke the graph.
Graph run_passes(const Graph& graph, const PassOptions& options = {}, std::vector<PassReport>* reports = nullptr);

}  // namespace easel::graph
