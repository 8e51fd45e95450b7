#include "graph/passes/pass.h"

#include <chrono>

#include "base/fail.h"
#include "graph/passes/all.h"

namespace easel::graph {

namespace {

PassResult remove_dead_code(const Graph& graph) {
  int removed = 0;
  Graph out = graph.without_dead_code(&removed);
  return {std::move(out), removed};
}

constexpr Pass kPasses[] = {
    {"pointwise_conv", "conv2d(x, w[O, C, 1, 1]) → linear(x, reshape(w))",
     "first: later passes see one kind of dense layer", false, pointwise_conv},
    {"fuse_attention", "reshape(permute(matmul(softmax(matmul(q, kᵀ)), v))) → attention(q, k, v)",
     "before merge_linears, which leaves slices between the projections and their use", true, fuse_attention},
    {"merge_linears", "linear(x, w1), linear(x, w2) → slices of linear(x, concat(w1, w2))",
     "before fuse_epilogue, which would give the parts different epilogues", false, merge_linears},
    {"fuse_group_norm", "silu(group_norm(x)) → group_norm(x) silu", "independent of the others", true, fuse_group_norm},
    {"fold_scale", "mul(linear(x, w, b), number) → linear(x, number·w, number·b)",
     "before fuse_epilogue, which would put a residual between the layer and its factor", false, fold_scale},
    {"fuse_epilogue", "add, activation, prelu and geglu after linear or conv2d → their epilogue",
     "after pointwise_conv and merge_linears have settled which layers exist", true, fuse_epilogue},
    {"fold_constants", "an operator on constants → a constant expression",
     "after the fusions, whose patterns it could hide", false, fold_constants},
    {"dead_code", "nodes that no output needs → nothing", "last: sweeps up after the others", false, remove_dead_code},
};

}  // namespace

std::span<const Pass> passes() { return kPasses; }

Graph run_passes(const Graph& graph, const PassOptions& options, std::vector<PassReport>* reports) {
  for (const std::string& name : options.disabled) {
    bool known = false;
    for (const Pass& pass : kPasses) known |= name == pass.name;
    if (!known) fail(ErrorCode::invalid_argument, "passes: '{}' is no pass", printable(name));
  }
  Graph current = graph;
  for (const Pass& pass : kPasses) {
    if (options.disabled.contains(pass.name)) continue;
    const auto start = std::chrono::steady_clock::now();
    PassResult result = pass.run(current);
    current = std::move(result.graph);
    if (options.verify) current.verify();
    if (options.dump) options.dump(pass, current);
    if (reports) {
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      reports->push_back({pass.name, result.matches, elapsed.count(), current.nodes().size()});
    }
  }
  return current;
}

}  // namespace easel::graph
