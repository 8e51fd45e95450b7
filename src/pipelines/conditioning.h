// The conditionings of a run: what fills the UNet's text input at a step, and how their predictions become one.
#pragma once

#include <functional>
#include <vector>

#include "pipelines/prompt_encoder.h"

namespace easel::pipelines {

/// Its branches are the negative prompt where there is one, first as diffusers has it, and the conditionings of the
/// prompt. They may be rows of one batch or batches of their own.
class Conditioning {
 public:
  /// negative nullptr: no negative branch, and the prompt is not mixed. All three outlive this object.
  Conditioning(PromptEncoder& encoder, const PromptPlan& prompt, const PromptPlan* negative)
      : encoder_(encoder), prompt_(prompt), negative_(negative) {}

  int branches() const { return static_cast<int>(prompt_.branches.size()) + (negative_ ? 1 : 0); }
  /// The part of an input or output that belongs to a branch, one row per picture.
  using Rows = std::function<Tensor(int branch)>;

  /// Writes what the prompts say at `step` (from 0) to rows: [n, tokens, D] f32, texts repeated to its length. Branches
  /// that say what they said at the last call are left as they are; returns the others.
  std::vector<int> fill(int step, const Rows& rows);

  /// Predictions e, in place: those of the first conditioning become e₋ + Σ wₖ (eₖ − e₋), so that guidance
  /// sees one prompt: s · (e − e₋) is then Σ s wₖ (eₖ − e₋), as the web UI mixes. Nothing for a single one of weight 1.
  /// Liu et al. 2022, "Compositional Visual Generation with Composable Diffusion Models".
  void mix(const Rows& rows) const;

 private:
  PromptEncoder& encoder_;
  const PromptPlan& prompt_;
  const PromptPlan* negative_;
  std::vector<PromptText> written_;  // by branch
};

}  // namespace easel::pipelines
