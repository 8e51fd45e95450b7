// One network of a pipeline: its graph, weights and compiled programs.
#pragma once

#include <map>
#include <memory>

#include "exec/session.h"

namespace easel::pipelines {

/// Compiles on demand and keeps the programs: another size compiles once more, another prompt never does.
class Component {
 public:
  /// Throws io or shape_mismatch at once if a weight of the graph is missing or has another shape.
  Component(graph::Graph graph, std::shared_ptr<const exec::WeightSource> weights, device::ContextPtr context,
            DType precision, std::shared_ptr<exec::Arena> arena);

  /// The session for these sizes, compiled if need be. Only one session of a pipeline runs at a time.
  exec::Session& session(const Bindings& sizes);
  /// The plan for these sizes, without reading weights.
  exec::ProgramPtr plan(const Bindings& sizes);
  /// Gives back programs and packed weights; the next session() makes them again.
  void drop();

  /// Called for every command of every session from now on; an empty one ends that.
  void set_observer(const exec::Session::Observer& observer);

  const graph::Graph& graph() const { return graph_; }
  DType precision() const { return precision_; }
  /// Seconds spent compiling so far.
  double compile_seconds() const { return compile_seconds_; }
  bool packed() const { return store_.packed_bytes() > 0; }

 private:
  exec::CompileOptions options(const Bindings& sizes) const;

  graph::Graph graph_;
  device::ContextPtr context_;
  DType precision_;
  std::shared_ptr<exec::Arena> arena_;
  exec::WeightStore store_;
  std::map<Bindings, std::unique_ptr<exec::Session>> sessions_;
  std::map<Bindings, exec::ProgramPtr> plans_;
  double compile_seconds_ = 0;
  exec::Session::Observer observer_;
};

}  // namespace easel::pipelines
