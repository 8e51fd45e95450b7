// Weights of a model with adapters merged in, made one tensor at a time for a new file.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device/context.h"
#include "pipelines/adapters.h"
#include "pipelines/model_tensors.h"
#include "pipelines/tensor_recipe.h"

namespace easel::pipelines {

/// The tensors of a model that adapters change.
class MergedTensors {
 public:
  /// Opens the adapters. Throws as adapt() does, and invalid_argument for a file that is no model.
  MergedTensors(const ModelTensors& model, const std::vector<Lora>& loras,
                const std::function<void(const std::string&)>& warn);

  /// Makes the recipe of a tensor that is changed: what its terms give, then what the adapters make of the weights in
  /// it. Leaves others as they are.
  void apply(const ModelTensors& model, const std::string& component, const TensorLayout& layout, Recipe& recipe) const;

 private:
  std::shared_ptr<device::Context> context_;
  ComponentReplacements replacements_;
};

}  // namespace easel::pipelines
