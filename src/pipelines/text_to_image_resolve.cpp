// A request with its defaults filled in, and what follows from it: guidance, sizes, texts, variants of the UNet.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/fail.h"
#include "models/unet_2d_condition.h"
#include "pipelines/requests.h"
#include "pipelines/text_to_image_impl.h"

namespace easel {

using pipelines::Residency;

namespace {

constexpr int kMaxSteps = 10000;
constexpr int kMaxPictures = 4096;
constexpr int64_t kMaxSide = int64_t{1} << 24;  // pixels; far above what any memory holds

void check_added(const AddedConditions& added) {
  const auto check = [](const std::string& option, int64_t value) {
    if (value < 0 || value > kMaxSide)
      fail(ErrorCode::invalid_argument, "--{}: expected numbers from 0 to {}, found {}", option, kMaxSide, value);
  };
  const auto check_size = [&](const std::string& prefix, const SizeConditions& size) {
    for (const int64_t side : {size.original_width, size.original_height}) check(prefix + "original-size", side);
    for (const int64_t side : {size.crop_top, size.crop_left}) check(prefix + "crops-coords-top-left", side);
    for (const int64_t side : {size.target_width, size.target_height}) check(prefix + "target-size", side);
  };
  check_size("", added.size);
  if (added.negative_size) check_size("negative-", *added.negative_size);
  for (const double score : {added.aesthetic_score, added.negative_aesthetic_score})
    if (!std::isfinite(score))
      fail(ErrorCode::invalid_argument, "--aesthetic-score: expected a finite number, found {}", score);
}

}  // namespace

TextToImagePipeline::Impl::Job TextToImagePipeline::Impl::resolve(const TextToImageRequest& request,
                                                                  bool to_run) const {
  Job job;
  job.request = request;
  job.batch_size = request.batch_size;
  TextToImageRequest& r = job.request;
  resolve_picture(job, to_run);
  const auto check_range = [](const char* option, int64_t value, int64_t min, int64_t max) {
    if (value < min || value > max)
      fail(ErrorCode::invalid_argument, "--{}: expected {} to {}, found {}", option, min, max, value);
  };
  check_range("steps", r.steps, 1, kMaxSteps);
  check_range("num-images-per-prompt", r.num_images_per_prompt, 1, kMaxPictures);
  check_range("batch-size", r.batch_size, 0, kMaxPictures);
  const int64_t factor = files.vae.downscale(), multiple = std::max<int64_t>(8, factor);  // both powers of two
  const auto check_side = [&](const char* option, int64_t value) {
    if (value <= 0 || value > kMaxSide || value % multiple != 0)
      fail(ErrorCode::invalid_argument, "--{}: expected a multiple of {} from {} to {}, found {}", option, multiple,
           multiple, kMaxSide, value);
  };
  check_side("width", r.width);
  check_side("height", r.height);
  check_added(r.added);
  pipelines::check_added_conditions(r.added, files);
  job.prompt = text_encoder->plan(r, false);
  job.negative = text_encoder->plan(r, true);
  // Throw for bad names, values and combinations. Mixing several conditionings takes the negative one as its origin.
  const bool always_guided = sampler_for(r)->wants_unconditional();
  if (r.guidance.middle_prompt) job.middle = text_encoder->plan(pipelines::request_of_middle_prompt(r), true);
  if (job.instructed) {
    if (job.middle)
      fail(ErrorCode::invalid_argument,
           "--middle-prompt: expected a model of text alone, found one whose second condition is the picture");
    job.middle = job.negative;  // sees the picture, without the prompt
  }
  resolve_adapters(job);
  job.image_prompts = image_prompts->resolve(r.ip_adapters);
  job.guided = guided_by_scale(job) || always_guided || job.prompt.mixed() || job.middle.has_value();
  guidance_for(job);
  sampling::check_noise(pipelines::noise_options_of(r));
  add_variants(job);
  pipelines::PromptPlan others = job.negative;
  if (job.middle) others.chunk_counts.merge(std::set(job.middle->chunk_counts));
  job.tokens = text_encoder->tokens() * pipelines::common_chunks(job.prompt, job.guided ? &others : nullptr);
  job.latent_height = r.height / factor;
  job.latent_width = r.width / factor;
  if (job.batch_size == 0 || job.batch_size > r.num_images_per_prompt) job.batch_size = r.num_images_per_prompt;
  check_latents(job, "--initial-latents", r.initial_latents);
  check_latents(job, "--noisy-latents", r.noisy_latents);
  if (r.noisy_latents && (r.initial_latents || r.image.init_image))
    fail(ErrorCode::invalid_argument, "--noisy-latents: expected without {}, another beginning",
         r.initial_latents ? "--initial-latents" : "--init-image");
  return job;
}

bool TextToImagePipeline::Impl::guided_by_scale(const Job& job) const {
  // diffusers guides instructions by both scales or by none.
  const bool wanted = job.task != pipelines::PictureTask::instruct || job.instructed;
  return job.request.guidance_scale > 1 && wanted && !takes_guidance_scale();
}

std::unique_ptr<sampling::Sampler> TextToImagePipeline::Impl::sampler_for(const TextToImageRequest& request) const {
  return sampling::make_sampler(files.scheduler, request.sampler, pipelines::sampler_options_of(request));
}

sampling::GuidancePtr TextToImagePipeline::Impl::guidance_for(const Job& job) const {
  const GuidanceOptions& g = job.request.guidance;
  sampling::GuidanceOptions options;
  // Scales up to 1 count too where something else asks for both branches (CFG++, AND, two prompts).
  const bool unscaled = takes_guidance_scale() || (job.task == pipelines::PictureTask::instruct && !job.instructed);
  options.scale = unscaled ? 1 : job.request.guidance_scale;
  options.always = job.guided;
  options.rescale = g.rescale;
  options.start = g.start;
  options.end = g.end;
  options.mimic_scale = g.mimic_scale;
  options.threshold_quantile = g.threshold_quantile;
  options.middle_scale =
      job.instructed ? std::optional(job.request.image.image_guidance_scale) : g.middle_guidance_scale;
  options.pag_scale = g.pag_scale;
  options.pag_adaptive_scale = g.pag_adaptive_scale;
  if (g.middle_guidance_scale.has_value() != g.middle_prompt.has_value())
    fail(ErrorCode::invalid_argument, "{}: expected together with {}, which is not given",
         g.middle_prompt ? "--middle-prompt" : "--middle-guidance-scale",
         g.middle_prompt ? "--middle-guidance-scale" : "--middle-prompt");
  if (job.perturbed() && job.prompt.mixed())
    fail(ErrorCode::invalid_argument,
         "--pag-scale {}: expected a prompt of one conditioning of weight 1, found AND or a weight at its end",
         g.pag_scale);
  return sampling::make_guidance(options);
}

Bindings TextToImagePipeline::Impl::unet_sizes(const Job& job, const Residency& plan, int pictures,
                                               const Branches& beside) const {
  const int64_t branches = static_cast<int64_t>(job.prompt.branches.size()) + beside.count();
  Bindings sizes = {{"batch", plan.split_guidance ? pictures : pictures * branches},
                    {"height", job.latent_height},
                    {"width", job.latent_width},
                    {"tokens", job.tokens}};
  for (size_t i = 0; i < job.image_prompts.size(); ++i)
    sizes[fmt::format("ip_tokens.{}", i)] = job.image_prompts[i].tokens;
  return sizes;
}

Bindings TextToImagePipeline::Impl::unet_sizes(const Job& job, const Residency& plan) const {
  return unet_sizes(job, plan, plan.batch_size, job.beside());
}

Bindings TextToImagePipeline::Impl::vae_sizes(const Job& job, int pictures) const {
  return {{"batch", pictures}, {"height", job.latent_height}, {"width", job.latent_width}};
}

Bindings TextToImagePipeline::Impl::vae_sizes(const Job& job, const Residency& plan) const {
  return vae_sizes(job, plan.bands.band_bytes > 0 ? 1 : plan.batch_size);
}

std::vector<pipelines::PromptText> TextToImagePipeline::Impl::texts_of(const Job& job) {
  std::vector<pipelines::PromptText> texts;
  if (job.guided) texts = job.negative.texts();
  if (job.middle)
    for (pipelines::PromptText& text : job.middle->texts()) texts.push_back(std::move(text));
  for (pipelines::PromptText& text : job.prompt.texts()) texts.push_back(std::move(text));
  return texts;
}

void TextToImagePipeline::Impl::add_variants(Job& job) const {
  const TextToImageRequest& r = job.request;
  if (r.freeu)
    for (const double factor : {r.freeu->b1, r.freeu->b2, r.freeu->s1, r.freeu->s2})
      if (!(std::fabs(factor) <= 1e3))
        fail(ErrorCode::invalid_argument, "--freeu: expected factors from -1000 to 1000, found {}", factor);
  models::UNet2DConditionVariant variant{
      .perturbed_layers = {}, .freeu = r.freeu.has_value(), .image_prompts = job.image_prompts.size()};
  const auto make = [&] { return models::unet_2d_condition(files.unet, variant); };
  job.variant = variant.freeu ? "freeu" : "";
  if (variant.image_prompts > 0) job.variant += fmt::format(" image prompts {}", variant.image_prompts);
  if (!job.variant.empty()) unet->add_variant(job.variant, make);
  if (!job.perturbed()) return;
  for (std::string layer : r.guidance.pag_applied_layers) {
    // "up.block_1.attentions_0": as diffusers' pipelines once had the names.
    for (const auto& [old, now] : {std::pair(".block_", "_blocks."), std::pair(".attentions_", ".attentions.")})
      if (const size_t at = layer.find(old); at != std::string::npos) layer.replace(at, std::strlen(old), now);
    if (layer.empty())
      fail(ErrorCode::invalid_argument, "--pag-applied-layers: expected names of layers, found an empty one");
    variant.perturbed_layers.push_back(std::move(layer));
  }
  if (variant.perturbed_layers.empty())
    fail(ErrorCode::invalid_argument, "--pag-applied-layers: expected names of layers with --pag-scale {}, found none",
         r.guidance.pag_scale);
  job.perturbed_variant = fmt::format("{} pag {}", job.variant, fmt::join(variant.perturbed_layers, ","));
  unet->add_variant(job.perturbed_variant, make);
}

}  // namespace easel
