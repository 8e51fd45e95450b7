// The part of a sample that a run leaves as it was: inpainting in the space of latents.
#pragma once

#include <span>

namespace easel::sampling {

/// Kept values follow the clean sample through the noise levels of the run: x := m·x + (1 − m)·(α·original + σ·noise).
/// Samplers of diffusers' reading put them into the sample after each step, as its inpainting pipelines do; those of
/// ComfyUI's reading into what the network sees at each call, with m·D + (1 − m)·original for the clean sample D that
/// it gives, and into the sample after the last step.
///
/// differential: m says when a value begins to be drawn anew instead of how much of it is: from the first call on whose
/// timestep t has m ≥ t/t₀, t₀ being the run's first timestep; where m is 0, never. Levin & Fried 2023, "Differential
/// Diffusion", in ComfyUI's form.
struct KeptPart {
  std::span<const float> original;  ///< the clean sample, [N, C, h, w]
  std::span<const float> noise;     ///< unit variance, as many: what the first sample was made with
  std::span<const float> mask;      ///< m, [h, w]: 1 drawn anew … 0 kept
  bool differential = false;

  /// sample := as above, with α = signal, σ = level, and t/t₀ = progress (0 after the last step).
  void restore(float signal, float level, double progress, std::span<float> sample) const;
};

}  // namespace easel::sampling
