// Weights that stay as their files store them.
#pragma once

#include "graph/graph.h"

namespace easel::graph {

/// before: %y = linear(%x, @bf16(concat(0, wq, wk)))          wq, wk: stored in blocks of q4_k
/// after:  %y = linear(%x, @q4_k(bf16(concat(0, wq, wk))))
/// Constants of linear, conv2d and embedding whose rows are blocks in the files (Constant::marked says so) are handed
/// to the kernels in these blocks, for which they take a fraction of the memory; no bit of a result changes. Runs after
/// set_precision, whose cast says what the decoded values are rounded to.
Graph keep_blocks(const Graph& graph);

}  // namespace easel::graph
