// Adapters that run beside a model's layers instead of being merged into their weights.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "graph/graph.h"

namespace easel::graph {

/// By weight name, the rank of the branch beside the layer that reads it.
using SideRanks = std::map<std::string, int64_t>;

/// Names of a branch's own weights: down [R, I] or [R, I, kh, kw] as the layer's, up [O, R]. Each rank has its own, as
/// a name stands for one shape.
std::string side_down(const std::string& weight, int64_t rank);
std::string side_up(const std::string& weight, int64_t rank);
/// The name of another weight that comes beside a model: of layers that a model's own file does not have.
std::string added_weight(const std::string& name);
/// Whether it is such a name: no file of the model holds it, and its values come by WeightStore::replace().
bool is_side_weight(const std::string& name);

/// before: %y = linear(%x, @w)                     %z = conv2d(%x, @v)
/// after:  %t = linear(%x, @down)                  %s = conv2d(%x, @down)
///         %y = linear(%x, @w, %t, @up) low_rank   %z = add(conv2d(%x, @v), linear(%s, @up))
/// For layers of a model's own graph, before any pass; those whose weight is not named stay. The weights of branches
/// are parameters like others: a program serves every adapter of these ranks.
Graph with_side_branches(const Graph& graph, const SideRanks& ranks);

}  // namespace easel::graph
