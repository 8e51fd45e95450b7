// Weights made from their names, for goldens of networks whose true size has no place in a repository.
#pragma once

#include <cmath>

#include "exec/weight_store.h"
#include "graph/graph.h"
#include "sampling/random.h"

namespace easel::pipelines {

/// Tensor NAME holds torch.randn with the seed FNV-1a 32 of NAME, divided by the square root of the number of values
/// that each result sums; biases are a tenth of such numbers, slopes 0.25 plus that. As in tests/goldens.
class SeededWeights : public exec::WeightSource {
 public:
  explicit SeededWeights(const std::vector<graph::Graph>& graphs) {
    for (const graph::Graph& graph : graphs)
      for (const graph::Value& value : graph.values())
        if (value.constant) collect(*value.constant);
  }
  Tensor load(const std::string& name) const override {
    const Shape& shape = shapes_.at(name);
    uint32_t seed = 2166136261;
    for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 16777619;
    Tensor out = Tensor::empty(DType::f32, shape);
    sampling::TorchGenerator(seed).randn(out.span<float>());
    const bool bias = name.ends_with(".bias"), slope = !bias && shape.rank() == 1;
    const auto divisor = static_cast<float>(
        std::sqrt(static_cast<double>(shape.numel()) / static_cast<double>(std::max<int64_t>(1, shape[0]))));
    for (float& value : out.span<float>()) value = bias ? value * 0.1f : slope ? value * 0.1f + 0.25f : value / divisor;
    return out;
  }
  Outline outline(const std::string& name) const override { return {DType::f32, shapes_.at(name)}; }
  std::string description() const override { return "seeded weights"; }

 private:
  void collect(const graph::Constant& constant) {
    if (constant.kind() == graph::Constant::Kind::weight) shapes_.emplace(constant.weight_name(), constant.shape());
    for (const graph::ConstantPtr& operand : constant.operands()) collect(*operand);
  }
  std::map<std::string, Shape> shapes_;
};

}  // namespace easel::pipelines
