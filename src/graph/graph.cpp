#include "graph/graph.h"

#include <algorithm>

#include "base/fail.h"

namespace easel::graph {

const char* to_string(Rate rate) noexcept {
  switch (rate) {
    case Rate::model: return "model";
    case Rate::request: return "request";
    case Rate::schedule: return "schedule";
    case Rate::step: return "step";
  }
  return "?";
}

ValueId Graph::input(const std::string& name, const ValueType& type, Rate rate) {
  const auto id = static_cast<ValueId>(values_.size());
  Value value;
  value.type = type;
  value.name = name;
  value.rate = rate;
  value.is_input = true;
  values_.push_back(std::move(value));
  inputs_.push_back(id);
  return id;
}

ValueId Graph::constant(const ConstantPtr& constant) {
  const auto id = static_cast<ValueId>(values_.size());
  Value value;
  value.type = {constant->dtype(), symbolic(constant->shape())};
  value.constant = constant;
  values_.push_back(std::move(value));
  return id;
}

ValueId Graph::add(const ops::Attrs& attrs, std::vector<ValueId> inputs, const std::string& scope) {
  std::vector<ValueType> types;
  Rate rate = Rate::model;
  for (const ValueId id : inputs) {
    types.push_back(value(id).type);
    rate = std::max(rate, value(id).rate);
  }
  Value out;
  try {
    out.type = ops::infer(attrs, types);
  } catch (const Error& error) {
    fail(error.code(), "{}{}{}: {}", name_, scope.empty() ? "" : ".", scope, error.what());
  }
  out.rate = rate;
  out.producer = static_cast<NodeId>(nodes_.size());
  const auto id = static_cast<ValueId>(values_.size());
  values_.push_back(std::move(out));
  nodes_.push_back({attrs, std::move(inputs), id, scope});
  return id;
}

void Graph::output(const std::string& name, ValueId value) { outputs_.push_back({name, value}); }

ValueId Graph::find_input(const std::string& name) const {
  for (const ValueId id : inputs_)
    if (value(id).name == name) return id;
  return kNone;
}

std::vector<int> Graph::use_counts() const {
  std::vector<int> uses(values_.size());
  for (const Node& node : nodes_)
    for (const ValueId id : node.inputs) ++uses[static_cast<size_t>(id)];
  for (const Output& out : outputs_) ++uses[static_cast<size_t>(out.value)];
  return uses;
}

std::vector<std::vector<NodeId>> Graph::users() const {
  std::vector<std::vector<NodeId>> users(values_.size());
  for (size_t n = 0; n < nodes_.size(); ++n)
    for (const ValueId id : nodes_[n].inputs) users[static_cast<size_t>(id)].push_back(static_cast<NodeId>(n));
  return users;
}

Graph::Rewriter::Rewriter(const Graph& from_graph, Graph& to_graph)
    : from(from_graph), to(to_graph), map_(from_graph.values().size(), kNone) {}

ValueId Graph::Rewriter::map(ValueId old) {
  ValueId& mapped = map_[static_cast<size_t>(old)];
  // Constants come along when first used, so that unused ones stay behind.
  if (mapped == kNone && from.value(old).constant) mapped = to.constant(from.value(old).constant);
  if (mapped == kNone) fail(ErrorCode::internal, "{}: value %{} is used before it is made", from.name(), old);
  return mapped;
}

ValueId Graph::Rewriter::copy(NodeId id) {
  const Node& node = from.node(id);
  std::vector<ValueId> inputs;
  for (const ValueId input : node.inputs) inputs.push_back(map(input));
  return to.add(node.attrs, std::move(inputs), node.scope);
}

ValueId Graph::Rewriter::add(const ops::Attrs& attrs, std::vector<ValueId> inputs, NodeId like) {
  return to.add(attrs, std::move(inputs), from.node(like).scope);
}

Graph Graph::rewrite(const RewriteFn& fn) const {
  Graph out(name_);
  Rewriter rewriter(*this, out);
  for (const ValueId id : inputs_)
    rewriter.map_[static_cast<size_t>(id)] = out.input(value(id).name, value(id).type, value(id).rate);
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const ValueId made = fn(rewriter, static_cast<NodeId>(n));
    rewriter.map_[static_cast<size_t>(nodes_[n].output)] = made;
  }
  for (const Output& output : outputs_) out.output(output.name, rewriter.map(output.value));
  return out.without_dead_code();
}

Graph Graph::with_constants(const std::function<ConstantPtr(const ConstantPtr&)>& change) const {
  Graph out = *this;
  for (Value& value : out.values_)
    if (value.constant) value.constant = change(value.constant);
  return out;
}

Graph Graph::specialize(const Bindings& bindings) const {
  Graph out(name_);
  Rewriter rewriter(*this, out);
  for (const ValueId id : inputs_) {
    const Value& v = value(id);
    rewriter.map_[static_cast<size_t>(id)] =
        out.input(v.name, {v.type.dtype, symbolic(evaluate(v.type.shape, bindings))}, v.rate);
  }
  for (const Node& node : nodes_) {
    std::vector<ValueId> inputs;
    for (const ValueId input : node.inputs) inputs.push_back(rewriter.map(input));
    rewriter.map_[static_cast<size_t>(node.output)] =
        out.add(ops::specialize(node.attrs, bindings), std::move(inputs), node.scope);
  }
  for (const Output& output : outputs_) out.output(output.name, rewriter.map(output.value));
  return out;
}

Graph Graph::without_dead_code(int* removed) const {
  std::vector<bool> live(values_.size());
  for (const Output& output : outputs_) live[static_cast<size_t>(output.value)] = true;
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node)
    if (live[static_cast<size_t>(node->output)])
      for (const ValueId id : node->inputs) live[static_cast<size_t>(id)] = true;
  Graph out(name_);
  Rewriter rewriter(*this, out);
  for (const ValueId id : inputs_)  // inputs are the interface: they stay
    rewriter.map_[static_cast<size_t>(id)] = out.input(value(id).name, value(id).type, value(id).rate);
  int dropped = 0;
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const auto target = static_cast<size_t>(nodes_[n].output);
    if (live[target])
      rewriter.map_[target] = rewriter.copy(static_cast<NodeId>(n));
    else
      ++dropped;
  }
  for (const Output& output : outputs_) out.output(output.name, rewriter.map(output.value));
  if (removed) *removed = dropped;
  return out;
}

void Graph::verify() const {
  const auto broken = [&](const std::string& what) { fail(ErrorCode::internal, "graph {}: {}", name_, what); };
  std::vector<bool> made(values_.size());
  for (size_t v = 0; v < values_.size(); ++v) made[v] = values_[v].is_input || values_[v].constant != nullptr;
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const Node& node = nodes_[n];
    std::vector<ValueType> types;
    for (const ValueId id : node.inputs) {
      if (id < 0 || id >= static_cast<ValueId>(values_.size())) broken(fmt::format("node {} reads no value", n));
      if (!made[static_cast<size_t>(id)]) broken(fmt::format("node {} reads %{} before it is made", n, id));
      types.push_back(value(id).type);
    }
    if (node.output < 0 || node.output >= static_cast<ValueId>(values_.size()) ||
        value(node.output).producer != static_cast<NodeId>(n))
      broken(fmt::format("node {} and its output disagree", n));
    if (!(ops::infer(node.attrs, types) == value(node.output).type))
      broken(fmt::format("node {} has the wrong result type", n));
    made[static_cast<size_t>(node.output)] = true;
  }
  for (const Output& output : outputs_)
    if (output.value < 0 || !made[static_cast<size_t>(output.value)])
      broken(fmt::format("output '{}' is never made", output.name));
}

std::string Graph::str() const {
  std::string out = fmt::format("graph {}\n", name_);
  const auto show = [&](ValueId id) {
    const Value& v = value(id);
    return v.constant ? "@" + v.constant->key() : fmt::format("%{}", id);
  };
  for (const ValueId id : inputs_)
    out += fmt::format("  input %{} {} {}{} {}\n", id, value(id).name, easel::to_string(value(id).type.dtype),
                       easel::to_string(value(id).type.shape), to_string(value(id).rate));
  for (const Node& node : nodes_) {
    std::string args;
    for (const ValueId id : node.inputs) args += (args.empty() ? "" : ", ") + show(id);
    out += fmt::format("  %{} = {}({}){} : {}{}{}\n", node.output, ops::op_name(node.attrs), args,
                       ops::to_string(node.attrs), easel::to_string(value(node.output).type.dtype),
                       easel::to_string(value(node.output).type.shape), node.scope.empty() ? "" : "  # " + node.scope);
  }
  for (const Output& output : outputs_) out += fmt::format("  output {} {}\n", output.name, show(output.value));
  return out;
}

}  // namespace easel::graph
