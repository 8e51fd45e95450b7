#include "pipelines/merged_tensors.h"

#include <cstring>

#include "base/fail.h"
#include "exec/row_values.h"

namespace easel::pipelines {

MergedTensors::MergedTensors(const ModelTensors& model, const std::vector<Lora>& loras,
                             const std::function<void(const std::string&)>& warn) {
  if (loras.empty()) return;
  LoraTargets targets;
  if (model.unet) targets.add_unet(unet_weights(*model.unet), *model.unet);
  for (const auto& [name, config] : model.text_encoders)
    targets.add_text_encoder(text_encoder_weights(config), name == "text_encoder_2" ? 2 : 1);
  if (!model.unet && model.text_encoders.empty())
    fail(ErrorCode::invalid_argument, "--lora: expected a UNet or text encoder to merge it into, found none in {}",
         printable(model.path(), 400));
  std::vector<OpenLora> opened;
  for (const Lora& lora : loras) opened.push_back({LoraFile::open(lora.path), lora.unet_weight, lora.text_weight});
  context_ = std::make_shared<device::Context>();
  replacements_ = adapt(opened, LoraMode::merge, targets, to_string(model.family), warn).replacements;
}

namespace {

// A matrix or its transpose, as the new file has it.
Tensor turned(const Tensor& matrix) {
  const int64_t rows = matrix.dim(0), columns = matrix.dim(1);
  Tensor out = Tensor::empty(DType::f32, {columns, rows});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out.data<float>()[c * rows + r] = matrix.data<float>()[r * columns + c];
  return out;
}

}  // namespace

void MergedTensors::apply(const ModelTensors& model, const std::string& component, const TensorLayout& layout,
                          Recipe& recipe) const {
  const auto own = replacements_.find(component);
  if (own == replacements_.end()) return;
  struct Part {
    Shape shape;
    graph::ConstantPtr expression;  // nullptr: unchanged
  };
  std::vector<Part> parts;  // one after the other in the tensor
  bool changed = false;
  for (const std::string& name : layout.weights) {
    const auto found = own->second.find(name);
    parts.push_back({model.find(component, name)->shape, found == own->second.end() ? nullptr : found->second});
    changed |= parts.back().expression != nullptr;
  }
  if (!changed) return;
  recipe.change = [context = context_, parts, transposed = layout.transposed](const Tensor& sum) {
    const Tensor out = sum.clone();
    float* at = out.data<float>();
    for (const Part& part : parts) {
      const Tensor values = Tensor::wrap(at, DType::f32, part.shape);
      at += part.shape.numel();
      if (!part.expression) continue;
      const bool turn = transposed && part.shape.rank() == 2;
      Tensor before = values.clone();
      if (turn) before = turned(before.reshape({part.shape[1], part.shape[0]}));
      Tensor after = Tensor::empty(DType::f32, part.shape);
      exec::RowValues(*context, [&](const graph::Constant& weight) {
        return before.reshape(weight.shape());
      }).write(*part.expression, after);
      if (turn) after = turned(after);
      std::memcpy(values.raw(), after.raw(), static_cast<size_t>(after.bytes()));
    }
    return out;
  };
}

}  // namespace easel::pipelines
