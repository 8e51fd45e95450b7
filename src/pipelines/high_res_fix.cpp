// Two passes: the whole at a size that the model knows, then larger from there.
#include <cmath>

#include "base/fail.h"
#include "pipelines/latent_resize.h"
#include "pipelines/text_to_image_impl.h"

namespace easel {

using pipelines::LatentFilter;

namespace {

bool in_pixels(const HighResFix& fix) { return fix.upscaler == "pixel"; }

void check(const TextToImageRequest& request) {
  const HighResFix& fix = request.high_res_fix;
  if (!(fix.scale > 1 && fix.scale <= 16))
    fail(ErrorCode::invalid_argument, "--hires-scale: expected above 1 and up to 16, found {}", fix.scale);
  if (!(fix.strength > 0 && fix.strength <= 1))
    fail(ErrorCode::invalid_argument, "--hires-strength: expected above 0 and up to 1, found {}", fix.strength);
  if (fix.steps < 0) fail(ErrorCode::invalid_argument, "--hires-steps: expected 1 or more, found {}", fix.steps);
  if (!fix.upscaler.empty() && fix.upscaler != "latent" && fix.upscaler != "latent_nearest" && !in_pixels(fix))
    fail(ErrorCode::invalid_argument, "--hires-upscaler: expected latent, latent_nearest or pixel, found \"{}\"",
         printable(fix.upscaler, 40));
  if (request.image.init_image)
    fail(ErrorCode::invalid_argument, "--hires-scale: expected without --init-image, which is one pass already");
  const SamplingOptions& s = request.sampling;
  if (request.noisy_latents)
    fail(ErrorCode::invalid_argument, "--hires-scale: expected without --noisy-latents, which are of a second pass");
  if (s.end_step || s.denoising_start || s.denoising_end || s.start_step != 0 || !s.sigmas.empty() || s.denoise != 1)
    fail(ErrorCode::invalid_argument,
         "--hires-scale: expected without --sigmas, --denoise, --start-step, --end-step, --denoising-start and "
         "--denoising-end: the second pass has a part of its own");
}

}  // namespace

TextToImagePipeline::Impl::Job TextToImagePipeline::Impl::second_pass(const Job& first) const {
  const HighResFix& fix = first.request.high_res_fix;
  check(first.request);
  TextToImageRequest r = first.request;
  const auto multiple = static_cast<double>(std::max<int64_t>(8, files.vae.downscale()));
  const auto larger = [&](int64_t side) {
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(side) * fix.scale / multiple) * multiple);
  };
  r.width = larger(r.width);
  r.height = larger(r.height);
  r.initial_latents.reset();
  if (fix.steps > 0) r.steps = fix.steps;
  // What it begins from is not read but made by the first pass.
  r.image.init_image = PictureSource{first.request.width, first.request.height, {}};
  r.image.strength = fix.strength;
  Job second = resolve(r);
  second.begins_from_latents = !in_pixels(fix);
  return second;
}

TextToImageResult TextToImagePipeline::Impl::generate_in_two_passes(
    Job first, const std::function<void(const StepProgress&)>& progress, const TraceSink& trace) {
  Job second = second_pass(first);
  const HighResFix& fix = second.request.high_res_fix;
  const bool pixels = in_pixels(fix);
  const int pictures = first.request.num_images_per_prompt;
  StepProgress shown;
  const int calls_of_second = sampler_for(second.request)->model_calls();
  first.request.latents_only = !pixels;
  const TextToImageResult low = generate(std::move(first),
                                         [&](const StepProgress& state) {
                                           shown = state;
                                           if (shown.total > 0)
                                             shown.total =
                                                 calls_of_second > 0 ? shown.total + calls_of_second * pictures : 0;
                                           if (progress) progress(shown);
                                         },
                                         {});
  if (trace) trace("first_pass", low.latents);
  if (pixels) {
    for (const Picture& picture : low.pictures)
      second.pictures.push_back(PictureSource::of({picture.width, picture.height, picture.rgb}));
  } else {
    const LatentFilter filter = fix.upscaler == "latent_nearest" ? LatentFilter::nearest_exact : LatentFilter::bilinear;
    second.original = resize_latents(low.latents, second.latent_height, second.latent_width, filter);
  }
  const int done = shown.done;
  TextToImageResult result = generate(
      std::move(second),
      [&](StepProgress state) {
        state.done += done;
        if (state.total > 0) state.total += done;
        if (progress) progress(state);
      },
      trace);
  const auto add = [](std::vector<double>& to, const std::vector<double>& front) {
    to.insert(to.begin(), front.begin(), front.end());
  };
  add(result.seconds.steps, low.seconds.steps);
  add(result.seconds.decode, low.seconds.decode);
  result.seconds.compile += low.seconds.compile;
  result.seconds.text_encode += low.seconds.text_encode;
  result.seconds.total += low.seconds.total;
  return result;
}

}  // namespace easel
