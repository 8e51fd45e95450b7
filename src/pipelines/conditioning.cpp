#include "pipelines/conditioning.h"

#include <algorithm>
#include <span>

#include "base/fail.h"

namespace easel::pipelines {

namespace {

// The values again and again, over all rows of an input.
void repeat(std::span<const float> values, const Tensor& input) {
  float* to = input.data<float>();
  for (int64_t done = 0; done < input.numel(); done += static_cast<int64_t>(values.size()))
    std::copy(values.begin(), values.end(), to + done);
}

std::vector<float> time_ids(const TextToImageRequest& r, const SizeConditions& size, double score, bool refiner) {
  const auto or_own = [](int64_t given, int64_t own) { return static_cast<float>(given > 0 ? given : own); };
  std::vector<float> out = {or_own(size.original_height, r.height), or_own(size.original_width, r.width),
                            static_cast<float>(size.crop_top), static_cast<float>(size.crop_left)};
  if (refiner) {
    out.push_back(static_cast<float>(score));
  } else {
    out.push_back(or_own(size.target_height, r.height));
    out.push_back(or_own(size.target_width, r.width));
  }
  return out;
}

}  // namespace

void check_added_conditions(const AddedConditions& added, const ModelFiles& files) {
  const bool sizes = is_xl(files.family), refiner = files.family == Family::sdxl_refiner;
  const auto refuse = [&](const std::string& option, const char* expected) {
    fail(ErrorCode::invalid_argument, "--{}: expected {}, found {}", option, expected, files.family_name());
  };
  const auto check = [&](const std::string& prefix, const SizeConditions& size) {
    const bool original = size.original_width > 0 || size.original_height > 0;
    const bool target = size.target_width > 0 || size.target_height > 0;
    const bool crop = size.crop_top > 0 || size.crop_left > 0;
    if (!sizes && (original || crop || target))
      refuse(prefix + (original ? "original-size"
                       : crop   ? "crops-coords-top-left"
                                : "target-size"),
             "a model that is told of sizes (Stable Diffusion XL)");
    if (refiner && target) refuse(prefix + "target-size", "a model that is told of it, which refiners are not");
  };
  check("", added.size);
  if (added.negative_size) {
    if (!sizes) refuse("negative-original-size", "a model that is told of sizes (Stable Diffusion XL)");
    check("negative-", *added.negative_size);
  }
  const AddedConditions usual;
  if (refiner) return;
  if (added.aesthetic_score != usual.aesthetic_score) refuse("aesthetic-score", "a refiner of Stable Diffusion XL");
  if (added.negative_aesthetic_score != usual.negative_aesthetic_score)
    refuse("negative-aesthetic-score", "a refiner of Stable Diffusion XL");
}

AddedInputs added_inputs(const TextToImageRequest& request, const models::UNet2DConditionConfig& unet) {
  AddedInputs out;
  if (unet.time_cond_proj_dim > 0)
    out.timestep_cond = models::guidance_scale_embedding(request.guidance_scale, unet.time_cond_proj_dim);
  if (unet.addition_embed_type == models::AddedEmbedding::none) return out;
  const AddedConditions& added = request.added;
  const bool refiner = unet.time_ids() == 5;
  out.time_ids = time_ids(request, added.size, added.aesthetic_score, refiner);
  out.negative_time_ids =
      time_ids(request, added.negative_size.value_or(added.size), added.negative_aesthetic_score, refiner);
  return out;
}

std::vector<int> Conditioning::fill(int step, const Rows& rows) {
  std::vector<PromptText> texts;
  if (negative_) texts.push_back(negative_->at(0, step));
  for (size_t i = 0; i < prompt_.branches.size(); ++i) texts.push_back(prompt_.at(i, step));
  for (const PromptPlan* plan : beside_) texts.push_back(plan->at(0, step));
  std::vector<int> changed;
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto branch = static_cast<int>(i);
    if (written_.empty()) {
      const bool negative = negative_ && i == 0;
      if (!added_.time_ids.empty())
        repeat(negative ? added_.negative_time_ids : added_.time_ids, rows("time_ids", branch));
      if (!added_.timestep_cond.empty()) repeat(added_.timestep_cond, rows("timestep_cond", branch));
    } else if (written_[i] == texts[i]) {
      continue;
    }
    changed.push_back(branch);
    const PromptEncoder::Encoded& encoded = encoder_.encoded(texts[i]);
    repeat(encoded.states.span<float>(), rows("encoder_hidden_states", branch));
    if (!added_.time_ids.empty()) repeat(encoded.pooled.span<float>(), rows("text_embeds", branch));
  }
  written_ = std::move(texts);
  return changed;
}

void Conditioning::mix(const Rows& rows) const {
  if (!prompt_.mixed()) return;
  const Tensor negative = rows("noise_pred", 0), first = rows("noise_pred", 1);
  const float* origin = negative.data<float>();
  float* mixed = first.data<float>();
  for (int64_t i = 0; i < first.numel(); ++i)
    mixed[i] = origin[i] + static_cast<float>(prompt_.branches[0].weight) * (mixed[i] - origin[i]);
  for (size_t k = 1; k < prompt_.branches.size(); ++k) {
    const Tensor other = rows("noise_pred", static_cast<int>(k) + 1);
    const float* prediction = other.data<float>();
    const auto weight = static_cast<float>(prompt_.branches[k].weight);
    for (int64_t i = 0; i < first.numel(); ++i) mixed[i] += weight * (prediction[i] - origin[i]);
  }
}

}  // namespace easel::pipelines
