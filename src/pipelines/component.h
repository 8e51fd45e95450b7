// One network of a pipeline: its graph, weights and compiled programs.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <tuple>

#include "exec/session.h"
#include "graph/side_branches.h"

namespace easel::pipelines {

/// Compiles on demand and keeps the programs: another size compiles once more, another prompt never does.
class Component {
 public:
  /// Throws io or shape_mismatch at once if a weight of the graph is missing or has another shape.
  Component(graph::Graph graph, std::shared_ptr<const exec::WeightSource> weights, device::ContextPtr context,
            DType precision, std::shared_ptr<exec::Arena> arena);

  /// The session for these sizes, compiled if need be. Only one session of a pipeline runs at a time. Sessions of
  /// different `instance` share their program but have inputs, outputs and kept values of their own.
  std::shared_ptr<exec::Session> session(const Bindings& sizes, const exec::BandOptions& bands = {}, int instance = 0);
  /// The plan for these sizes, without reading weights; in another precision than the component's own if given.
  exec::ProgramPtr plan(const Bindings& sizes, const exec::BandOptions& bands = {},
                        std::optional<DType> precision = std::nullopt);
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
  using Key = std::tuple<Bindings, exec::BandOptions, int>;  // sizes, bands; instance, or dtype of a plan

  exec::CompileOptions options(const Bindings& sizes, const exec::BandOptions& bands) const;

  /// What there is once for each choice of side branches.
  struct Variant {
    graph::Graph graph;
    std::map<Key, std::shared_ptr<exec::Session>> sessions;
    std::map<Key, exec::ProgramPtr> plans;
  };

  graph::SideRanks ranks_;                      // of what follows
  std::map<graph::SideRanks, Variant> others_;  // not in use
  graph::Graph graph_;
  device::ContextPtr context_;
  DType precision_;
  std::shared_ptr<exec::Arena> arena_;
  exec::WeightStore store_;
  std::map<Key, std::shared_ptr<exec::Session>> sessions_;
  std::map<Key, exec::ProgramPtr> plans_;
  double compile_seconds_ = 0;
  exec::Session::Observer observer_;
};

}  // namespace easel::pipelines
