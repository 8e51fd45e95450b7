#include "pipelines/requests.h"

namespace easel::pipelines {

double strength_of(const TextToImageRequest& request) {
  const PictureInputs& image = request.image;
  if (!image.init_image) return 1;
  // Where the schedule is cut by hand, that is all that is cut.
  const SamplingOptions& s = request.sampling;
  const bool whole = image.mask || image.outpaint.any() || s.denoise != 1 || s.start_step != 0 || !s.sigmas.empty();
  return image.strength.value_or(whole ? 1 : 0.8);
}

sampling::SamplerOptions sampler_options_of(const TextToImageRequest& request) {
  const SamplingOptions& s = request.sampling;
  sampling::SamplerOptions out;
  out.steps = request.steps;
  out.eta = request.eta;
  if (!request.scheduler.empty()) out.sigma_schedule = request.scheduler;
  out.sigmas = s.sigmas;
  out.denoise = s.denoise;
  out.strength = strength_of(request);
  out.denoising_start = s.denoising_start;
  out.denoising_end = s.denoising_end;
  out.start_step = s.start_step;
  out.end_step = s.end_step;
  out.s_churn = s.s_churn;
  out.s_tmin = s.s_tmin;
  out.s_tmax = s.s_tmax;
  out.s_noise = s.s_noise;
  out.rho = s.rho;
  out.rtol = s.rtol;
  out.atol = s.atol;
  return out;
}

TextToImageRequest request_of_middle_prompt(const TextToImageRequest& request) {
  TextToImageRequest out = request;
  out.negative_prompt = request.guidance.middle_prompt.value_or("");
  out.negative_prompt_2.clear();
  return out;
}

sampling::NoiseOptions noise_options_of(const TextToImageRequest& request) {
  const NoiseRules& n = request.noise;
  sampling::NoiseOptions out;
  if (!n.rng.empty()) out.source = sampling::parse_random_source(n.rng);
  out.seed = request.seed;
  out.eta_noise_seed_delta = n.eta_noise_seed_delta;
  out.variation_strength = n.variation_strength;
  out.variation_seed = n.variation_seed;
  return out;
}

}  // namespace easel::pipelines
