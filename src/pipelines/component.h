// One network of a pipeline: its graph, weights and compiled programs.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "exec/session.h"
#include "graph/side_branches.h"

namespace easel::pipelines {

/// Compiles on demand and keeps the programs: another size compiles once more, another prompt never does.
class Component {
 public:
  /// Throws io or shape_mismatch at once if a weight of the graph is missing or has another shape.
  Component(graph::Graph graph, std::shared_ptr<const exec::WeightSource> weights, device::ContextPtr context,
            DType precision, std::shared_ptr<exec::Arena> arena, bool keep_blocks = true);

  /// The session for these sizes, compiled if need be. Only one session of a pipeline runs at a time. Sessions of
  /// different `instance` share their program but have inputs, outputs and kept values of their own.
  /// `variant`: the name of another graph.
  std::shared_ptr<exec::Session> session(const Bindings& sizes, const exec::BandOptions& bands = {}, int instance = 0,
                                         const std::string& variant = "");
  /// The plan for these sizes, without reading weights; in another precision than the component's own if given.
  exec::ProgramPtr plan(const Bindings& sizes, const exec::BandOptions& bands = {},
                        std::optional<DType> precision = std::nullopt, const std::string& variant = "");
  /// Another graph over the same weights, whose packed forms it shares; does nothing if there is one of that name.
  /// Throws as the constructor does, and what `make` throws.
  void add_variant(const std::string& name, const std::function<graph::Graph()>& make);
  /// Gives back programs and packed weights; the next session() makes them again. Sessions still held keep theirs.
  void drop();

  /// What stands for weights from now on; see WeightStore::replace(). Packed copies and programs stay, and are as
  /// before once nothing is replaced any more. If that fails midway they are given back, as by drop().
  void replace(exec::Replacements replacements);
  /// From now on layers have side branches of these ranks; their weights come by replace(), which has to follow.
  /// Programs of a few earlier choices are kept; packed weights serve all.
  void use_side_branches(const graph::SideRanks& ranks);

  /// Called for every command of every session from now on; an empty one ends that.
  void set_observer(const exec::Session::Observer& observer);

  const graph::Graph& graph() const { return graph_; }
  DType precision() const { return precision_; }
  /// Seconds spent compiling so far.
  double compile_seconds() const { return compile_seconds_; }
  bool packed() const { return store_.packed_bytes() > 0; }

 private:
  using Key = std::tuple<Bindings, exec::BandOptions, std::string, int>;  // the last: instance, or dtype of a plan

  void check_weights(const graph::Graph& graph) const;
  const graph::Graph& graph_of(const std::string& variant);

  exec::CompileOptions options(const Bindings& sizes, const exec::BandOptions& bands) const;

  graph::Graph graph_;
  std::map<std::string, graph::Graph> variants_;
  std::vector<graph::SideRanks> side_ranks_;         // all that were asked for
  std::string side_;                                 // of the ones in use: ends the names of variants
  std::map<std::string, graph::Graph> side_graphs_;  // by variant + side_
  device::ContextPtr context_;
  DType precision_;
  bool keep_blocks_;
  std::shared_ptr<exec::Arena> arena_;
  exec::WeightStore store_;
  std::map<Key, std::shared_ptr<exec::Session>> sessions_;
  std::map<Key, exec::ProgramPtr> plans_;
  double compile_seconds_ = 0;
  exec::Session::Observer observer_;
};

}  // namespace easel::pipelines
