// The conditionings of a run: what fills the UNet's text input at a step, and how their predictions become one.
#pragma once

#include <functional>
#include <vector>

#include "pipelines/prompt_encoder.h"

namespace easel::pipelines {

/// What the UNet is told beside the texts, the same in every row of a branch; empty where it has no such input.
struct AddedInputs {
  std::vector<float> time_ids, negative_time_ids;  ///< SDXL's sizes and crops, or the refiner's score
  std::vector<float> timestep_cond;                ///< the guidance scale, for networks distilled with it
};
/// Those of a request, for this UNet. Podell et al. 2023, section 2.2; diffusers' _get_add_time_ids.
/// Throws invalid_argument, naming the option, for what this UNet is not told of.
void check_added_conditions(const AddedConditions& added, const ModelFiles& files);
AddedInputs added_inputs(const TextToImageRequest& request, const models::UNet2DConditionConfig& unet);

/// Its branches are the negative prompt where there is one, first as diffusers has it, the conditionings of the prompt,
/// and prompts beside it, of one conditioning each. They may be rows of one batch or batches of their own.
class Conditioning {
 public:
  /// negative nullptr: no negative branch, and the prompt is not mixed. All of them outlive this object.
  Conditioning(PromptEncoder& encoder, const PromptPlan& prompt, const PromptPlan* negative,
               std::vector<const PromptPlan*> beside, AddedInputs added)
      : encoder_(encoder), prompt_(prompt), negative_(negative), beside_(std::move(beside)), added_(std::move(added)) {}

  int branches() const { return first_beside() + static_cast<int>(beside_.size()); }
  /// The branch of the first prompt beside.
  int first_beside() const { return static_cast<int>(prompt_.branches.size()) + (negative_ ? 1 : 0); }
  /// The part of an input or output of that name that belongs to a branch, one row per picture.
  using Rows = std::function<Tensor(const char* name, int branch)>;

  /// Writes what the prompts say at `step` (from 0) to the rows of encoder_hidden_states: [n, tokens, D] f32, texts
  /// repeated to its length; and text_embeds, at the first call time_ids and timestep_cond, where the UNet has them.
  /// Branches that say what they said at the last call are left as they are; returns the others.
  std::vector<int> fill(int step, const Rows& rows);

  /// Predictions e (noise_pred), in place: those of the first conditioning become e₋ + Σ wₖ (eₖ − e₋), so that guidance
  /// sees one prompt: s · (e − e₋) is then Σ s wₖ (eₖ − e₋), as the web UI mixes. Nothing for a single one of weight 1.
  /// Liu et al. 2022, "Compositional Visual Generation with Composable Diffusion Models".
  void mix(const Rows& rows) const;

 private:
  PromptEncoder& encoder_;
  const PromptPlan& prompt_;
  const PromptPlan* negative_;
  std::vector<const PromptPlan*> beside_;
  AddedInputs added_;
  std::vector<PromptText> written_;  // by branch
};

}  // namespace easel::pipelines
