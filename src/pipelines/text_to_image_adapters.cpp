// Adapters of a request: which they are, and putting them into the networks.
#include <chrono>
#include <cmath>

#include "base/fail.h"
#include "pipelines/text_to_image_impl.h"

namespace easel {

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

void TextToImagePipeline::Impl::resolve_adapters(Job& job) const {
  job.loras = job.request.loras;
  for (const text::LoraTag& tag : job.prompt.loras) job.loras.push_back({tag.name, tag.unet_weight, tag.text_weight});
  for (Lora& lora : job.loras) {
    lora.path = pipelines::find_lora(lora.path, options.lora_dirs);
    if (!std::isfinite(lora.unet_weight) || !std::isfinite(lora.text_weight))
      fail(ErrorCode::invalid_argument, "--lora {}: expected finite weights, found {} and {}",
           printable(lora.path, 400), lora.unet_weight, lora.text_weight);
  }
  job.prompt.adapters = job.negative.adapters = adapters->text_key(job.loras);
  if (job.middle) job.middle->adapters = job.prompt.adapters;
}

void TextToImagePipeline::Impl::check_adapters(const Job& job) const {
  if (!job.loras.empty()) adapters->adaptation(job.loras, job.request.lora_mode);
}

double TextToImagePipeline::Impl::use_text_adapters(const Job& job) {
  const auto start = Clock::now();
  const auto made = adapters->adaptation(job.loras, job.request.lora_mode);
  text_encoder->use_adapters(job.prompt.adapters, made->replacements);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double TextToImagePipeline::Impl::use_unet_adapters(const Job& job) {
  const auto start = Clock::now();
  const auto made = adapters->adaptation(job.loras, job.request.lora_mode);
  const std::string images = pipelines::ImagePrompts::key(job.image_prompts);
  if (made != unet_adapters || images != unet_image_prompts) {
    unet_adapters = nullptr;  // none for certain, should this fail
    unet->use_side_branches(made->side_ranks);
    const auto found = made->replacements.find("unet");
    exec::Replacements replacements = found == made->replacements.end() ? exec::Replacements() : found->second;
    image_prompts->add_to(replacements, job.image_prompts);
    unet->replace(std::move(replacements));
    unet_adapters = made;
    unet_image_prompts = images;
  }
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double TextToImagePipeline::use_adapters(const TextToImageRequest& request) {
  impl_->require_weights();
  const std::lock_guard lock(impl_->mutex);
  const Impl::Job job = impl_->resolve(request);
  return impl_->use_text_adapters(job) + impl_->use_unet_adapters(job);
}

}  // namespace easel
