// The intermediate representation: values in SSA form and the nodes that make them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graph/constant.h"
#include "ops/attrs.h"

namespace easel::graph {

/// How often an input changes. What depends only on slower inputs is computed less often (see passes/hoist.h).
enum class Rate {
  model,     ///< never: part of the model
  request,   ///< once per request (text embeddings)
  schedule,  ///< once per position in the schedule (the timestep)
  step,      ///< at every run (latents)
};

const char* to_string(Rate rate) noexcept;

using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr int32_t kNone = -1;

struct Value {
  ValueType type;
  std::string name;  ///< of an input or output; empty otherwise
  Rate rate = Rate::model;
  NodeId producer = kNone;
  ConstantPtr constant;  ///< set for constants
  bool is_input = false;
};

struct Node {
  ops::Attrs attrs;
  std::vector<ValueId> inputs;
  ValueId output = kNone;
  std::string scope;  ///< where in the model it stands: "down_blocks.0.attentions.1"
};

struct Output {
  std::string name;
  ValueId value = kNone;
};

/// A directed acyclic graph. Nodes stand in an order in which every value is made before it is used.
/// Sizes may be symbolic (Dim); specialize() makes a copy with numbers.
class Graph {
 public:
  explicit Graph(std::string name = "graph") : name_(std::move(name)) {}

  // Building. Shape inference runs at once; a mismatch throws and names the scope.
  ValueId input(const std::string& name, const ValueType& type, Rate rate);
  ValueId constant(const ConstantPtr& constant);
  ValueId add(const ops::Attrs& attrs, std::vector<ValueId> inputs, const std::string& scope = "");
  void output(const std::string& name, ValueId value);

  const std::string& name() const { return name_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& values() const { return values_; }
  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<Output>& outputs() const { return outputs_; }
  const Value& value(ValueId id) const { return values_[static_cast<size_t>(id)]; }
  const Node& node(NodeId id) const { return nodes_[static_cast<size_t>(id)]; }
  const Node* producer(ValueId id) const { return value(id).producer == kNone ? nullptr : &node(value(id).producer); }
  ValueId find_input(const std::string& name) const;

  /// Number of uses of each value, outputs of the graph counted.
  std::vector<int> use_counts() const;
  /// Nodes that read each value.
  std::vector<std::vector<NodeId>> users() const;

  /// Builds the graph anew, node by node: `rewrite` may emit other nodes through the Rewriter, or copy the node.
  class Rewriter;
  using RewriteFn = std::function<ValueId(Rewriter&, NodeId)>;
  Graph rewrite(const RewriteFn& fn) const;

  /// A copy with other constants of the same types.
  Graph with_constants(const std::function<ConstantPtr(const ConstantPtr&)>& change) const;
  /// A copy in which every symbol is a number. Throws invalid_argument for a symbol without value.
  Graph specialize(const Bindings& bindings) const;
  /// A copy without nodes and constants that no output needs.
  Graph without_dead_code(int* removed = nullptr) const;

  /// Throws internal where an invariant is broken: order, arity, types, producers.
  void verify() const;
  /// The text form: one line per node.
  std::string str() const;

 private:
  std::string name_;
  std::vector<Value> values_;
  std::vector<Node> nodes_;
  std::vector<ValueId> inputs_;
  std::vector<Output> outputs_;
};

/// The new graph while it is being built; maps old values to new ones.
class Graph::Rewriter {
 public:
  Rewriter(const Graph& from, Graph& to);
  const Graph& from;
  Graph& to;
  /// The new value that stands for `old`.
  ValueId map(ValueId old);
  /// The node with its inputs mapped.
  ValueId copy(NodeId id);
  /// A new node with already mapped inputs, in the scope of `like`.
  ValueId add(const ops::Attrs& attrs, std::vector<ValueId> inputs, NodeId like);

 private:
  friend class Graph;
  std::vector<ValueId> map_;
};

}  // namespace easel::graph
