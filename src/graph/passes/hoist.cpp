#include "graph/passes/hoist.h"

#include <algorithm>
#include <map>

#include "base/fail.h"

namespace easel::graph {

Bundle hoist(const Graph& graph, bool enabled) {
  // What depends on nothing but the model runs with the slowest entry there is.
  std::vector<Rate> rates;
  for (const ValueId id : graph.inputs())
    if (std::find(rates.begin(), rates.end(), graph.value(id).rate) == rates.end())
      rates.push_back(graph.value(id).rate);
  std::sort(rates.begin(), rates.end());
  if (rates.empty()) rates.push_back(Rate::step);
  if (!enabled) rates = {rates.back()};

  std::vector<Rate> rate_of(graph.values().size(), Rate::model);
  for (const Node& node : graph.nodes())
    rate_of[static_cast<size_t>(node.output)] =
        enabled ? std::max(graph.value(node.output).rate, rates.front()) : rates.front();

  // Persistent: made by a slower node, read by a faster one, or an output of the graph made slowly.
  std::map<ValueId, std::string> kept;
  const auto keep = [&](ValueId id) {
    if (!kept.contains(id)) kept[id] = fmt::format("keep.{}", kept.size());
  };
  for (const Node& node : graph.nodes())
    for (const ValueId input : node.inputs)
      if (graph.value(input).producer != kNone &&
          rate_of[static_cast<size_t>(input)] < rate_of[static_cast<size_t>(node.output)])
        keep(input);

  Bundle bundle;
  for (const Rate rate : rates) {
    Graph entry(fmt::format("{}.{}", graph.name(), to_string(rate)));
    std::map<ValueId, ValueId> map;
    const auto mapped = [&](ValueId id) -> ValueId {
      if (const auto found = map.find(id); found != map.end()) return found->second;
      const Value& value = graph.value(id);
      ValueId made;
      if (value.constant)
        made = entry.constant(value.constant);
      else if (value.is_input)
        made = entry.input(value.name, value.type, value.rate);
      else
        made = entry.input(kept.at(id), value.type, rate_of[static_cast<size_t>(id)]);
      return map[id] = made;
    };
    for (const Node& node : graph.nodes()) {
      if (rate_of[static_cast<size_t>(node.output)] != rate) continue;
      std::vector<ValueId> inputs;
      for (const ValueId input : node.inputs) inputs.push_back(mapped(input));
      map[node.output] = entry.add(node.attrs, std::move(inputs), node.scope);
      if (const auto found = kept.find(node.output); found != kept.end()) entry.output(found->second, map[node.output]);
    }
    for (const Output& output : graph.outputs()) {
      const Rate made = std::max(rate_of[static_cast<size_t>(output.value)], rates.front());
      const bool input_or_constant = graph.value(output.value).producer == kNone;
      if (input_or_constant ? rate == rates.back() : made == rate) entry.output(output.name, mapped(output.value));
    }
    bundle.entries.push_back({rate, std::move(entry)});
  }
  for (const auto& [id, name] : kept) bundle.persistent.push_back(name);
  return bundle;
}

}  // namespace easel::graph
