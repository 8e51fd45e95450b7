// The finer options of sampling, guidance and noise, shared by generate, inspect and the texts in pictures.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <easel/pipeline.h>

#include "cli/arguments.h"

namespace easel::cli {

/// As given; what is not stays empty. Every field has the name of its option, "s_churn" for --s-churn.
struct SamplingArguments {
  std::optional<std::string> sigmas, rng;
  std::optional<double> denoise, s_churn, s_tmin, s_tmax, s_noise, rho, rtol, atol;
  std::optional<int64_t> start_step, end_step;
  std::optional<double> denoising_start, denoising_end;
  std::optional<double> guidance_rescale, guidance_start, guidance_end, dynamic_thresholding, threshold_quantile;
  std::optional<double> middle_guidance_scale, pag_scale, pag_adaptive_scale;
  std::optional<std::string> middle_prompt, pag_applied_layers, freeu;
  std::optional<uint64_t> eta_noise_seed_delta, variation_seed;
  std::optional<double> variation_strength;

  /// Calls visit(name, field...) for every field, with the fields of all the arguments under one name.
  template <typename Visit, typename... Arguments>
  static void each(Visit&& visit, Arguments&... all) {
    visit("sigmas", all.sigmas...);
    visit("denoise", all.denoise...);
    visit("start_step", all.start_step...);
    visit("end_step", all.end_step...);
    visit("denoising_start", all.denoising_start...);
    visit("denoising_end", all.denoising_end...);
    visit("s_churn", all.s_churn...);
    visit("s_tmin", all.s_tmin...);
    visit("s_tmax", all.s_tmax...);
    visit("s_noise", all.s_noise...);
    visit("rho", all.rho...);
    visit("rtol", all.rtol...);
    visit("atol", all.atol...);
    visit("guidance_rescale", all.guidance_rescale...);
    visit("guidance_start", all.guidance_start...);
    visit("guidance_end", all.guidance_end...);
    visit("dynamic_thresholding", all.dynamic_thresholding...);
    visit("threshold_quantile", all.threshold_quantile...);
    visit("middle_guidance_scale", all.middle_guidance_scale...);
    visit("middle_prompt", all.middle_prompt...);
    visit("pag_scale", all.pag_scale...);
    visit("pag_adaptive_scale", all.pag_adaptive_scale...);
    visit("pag_applied_layers", all.pag_applied_layers...);
    visit("freeu", all.freeu...);
    visit("rng", all.rng...);
    visit("eta_noise_seed_delta", all.eta_noise_seed_delta...);
    visit("variation_seed", all.variation_seed...);
    visit("variation_strength", all.variation_strength...);
  }

  void add_to(Arguments& arguments);
  /// These, and those of `other` where these are empty.
  SamplingArguments over(const SamplingArguments& other) const;
  /// Throws invalid_argument for --sigmas that are no list of numbers, and --freeu that is none of factors.
  void apply(TextToImageRequest& request) const;
};

}  // namespace easel::cli
