#include "pipelines/merged_tensors.h"

#include "base/fail.h"
#include "exec/row_values.h"

namespace easel::pipelines {

MergedTensors::MergedTensors(const ModelTensors& model, const std::vector<Lora>& loras,
                             const std::function<void(const std::string&)>& warn) {
  if (loras.empty()) return;
  LoraTargets targets;
  if (model.unet) targets.add_unet(unet_weights(*model.unet), *model.unet);
  if (model.text_encoder) targets.add_text_encoder(text_encoder_weights(*model.text_encoder));
  if (!model.unet && !model.text_encoder)
    fail(ErrorCode::invalid_argument, "--lora: expected a UNet or text encoder to merge it into, found none in {}",
         printable(model.path(), 400));
  std::vector<OpenLora> opened;
  for (const Lora& lora : loras) opened.push_back({LoraFile::open(lora.path), lora.unet_weight, lora.text_weight});
  context_ = std::make_shared<device::Context>();
  replacements_ = adapt(opened, LoraMode::merge, targets, model.family, warn).replacements;
}

void MergedTensors::apply(const ModelTensor& tensor, Recipe& recipe) const {
  const auto component = replacements_.find(tensor.component);
  if (component == replacements_.end()) return;
  const auto found = component->second.find(tensor.name);
  if (found == component->second.end()) return;
  recipe.change = [context = context_, expression = found->second](const Tensor& terms) {
    Tensor out = Tensor::empty(DType::f32, expression->shape());
    exec::RowValues(*context, [&](const graph::Constant& weight) {
      return terms.reshape(weight.shape());
    }).write(*expression, out);
    return out;
  };
}

}  // namespace easel::pipelines
