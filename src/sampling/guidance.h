// How the predictions of a network for several prompts become one.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include <easel/shape.h>

namespace easel::sampling {

/// The predictions of one call, [N, C, ...] each. Branches that were not run are empty.
struct Branches {
  std::span<const float> conditional;    ///< for the prompt
  std::span<const float> unconditional;  ///< for the negative prompt
  std::span<const float> middle;         ///< for the second prompt
  const Shape& shape;
  double progress;                        ///< 1 − t/(T − 1): 0 at the noisiest trained timestep, 1 at the cleanest
  double timestep = 0;                    ///< t, in training steps
  std::span<const float> perturbed = {};  ///< for the prompt, with perturbed self-attention
};

/// One rule. Rules stack: a rule may hold another and change what that makes. They keep scratch memory, so an object
/// serves one run at a time.
class Guidance {
 public:
  virtual ~Guidance() = default;
  /// Which branches the rule reads at this point of the run; others need not be run.
  virtual bool wants_unconditional(double progress) const = 0;
  virtual bool wants_middle(double progress) const { return false; }
  virtual bool wants_perturbed(double progress) const { return false; }
  /// out: as many values as a branch; not one of them.
  virtual void combine(const Branches& in, std::span<float> out) = 0;
};

using GuidancePtr = std::unique_ptr<Guidance>;

/// The prediction for the prompt as it is.
GuidancePtr no_guidance();
/// u + s·(c − u); Ho & Salimans 2022.
GuidancePtr classifier_free(double scale);
/// u + s_m·(m − u) + s·(c − m); Brooks et al. 2022 (InstructPix2Pix), eq. 3.
GuidancePtr two_prompts(double scale, double middle_scale);
/// g + s_t·(c − p) for the inner rule's g, s_t = max(0, scale − adaptive_scale·(1000 − t)) where both are above 0, else
/// scale; Ahn et al. 2024 (perturbed attention guidance), adaptive as diffusers has it.
GuidancePtr perturbed_attention(GuidancePtr inner, double scale, double adaptive_scale);
/// φ·(std c / std g)·g + (1 − φ)·g for the inner rule's g, deviations per picture; Lin et al. 2023, eq. 14 to 16.
GuidancePtr rescaled(GuidancePtr inner, double phi);
/// What `inner` makes, with per picture and channel the reach that `mimic` (a milder rule) makes: around its mean it is
/// clamped to ±r and scaled by m/r, where m is the largest deviation in mimic's and r the given quantile of the
/// deviations in inner's, at least m. Dynamic thresholding (Saharia et al. 2022, 2.3), for latents as the sd-dynamic-
/// thresholding extension has it (by mean, absolute values, per channel).
GuidancePtr dynamically_thresholded(GuidancePtr inner, GuidancePtr mimic, double quantile);
/// `inner` while start ≤ progress ≤ end, else the prompt alone (Kynkäänniemi et al. 2024).
GuidancePtr within(GuidancePtr inner, double start, double end);

struct GuidanceOptions {
  double scale = 7.5;                                 ///< up to 1: no guidance, unless `always`
  bool always = false;                                ///< the sampler reads the unconditional prediction itself (CFG++)
  std::optional<double> middle_scale = std::nullopt;  ///< two prompts: scale of the second
  double pag_scale = 0, pag_adaptive_scale = 0;       ///< perturbed attention: 0 none
  double rescale = 0;                                 ///< 0 to 1
  double start = 0, end = 1;
  std::optional<double> mimic_scale = std::nullopt;
  double threshold_quantile = 1;
};

/// The stack: classifier-free or of two prompts, thresholded, perturbed attention, rescaled, within its interval.
/// Throws invalid_argument, naming the option of the command, for values out of range or that do not go together.
GuidancePtr make_guidance(const GuidanceOptions& options);

}  // namespace easel::sampling
