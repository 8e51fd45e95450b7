// Where a run begins: noise, or a picture in the space of latents with noise over it; and what else the network sees.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/fail.h"
#include "models/autoencoder_kl.h"
#include "models/autoencoder_tiny.h"
#include "pipelines/requests.h"
#include "pipelines/text_to_image_impl.h"

namespace easel {

using pipelines::Canvas;
using pipelines::Component;
using pipelines::PictureTask;

// ---- what a request asks for ---------------------------------------------------------------------------------------

PictureTask TextToImagePipeline::Impl::picture_task(const PictureInputs& inputs, bool to_run) const {
  using pipelines::UNetInput;
  const UNetInput input = pipelines::unet_input(files.unet.in_channels, files.vae.latent_channels);
  const bool partly = inputs.mask || inputs.outpaint.any();
  Canvas::check(inputs);
  // To be described, a model need not be given its picture; one that is guided by it has a branch more.
  if (!to_run && !inputs.init_image)
    return input == UNetInput::instruct_pix2pix ? PictureTask::instruct : PictureTask::none;
  if (input == UNetInput::latents)
    return !inputs.init_image ? PictureTask::none : partly ? PictureTask::inpaint : PictureTask::image_to_image;
  if (input == UNetInput::inpainting) {
    if (!inputs.init_image || !partly)
      fail(ErrorCode::invalid_argument,
           "{}: an inpainting model, whose UNet takes {} channels: expected --init-image and --mask (or "
           "--outpaint), found {}",
           printable(info.path), files.unet.in_channels, inputs.init_image ? "no mask" : "no picture");
    return PictureTask::inpaint;
  }
  if (!inputs.init_image || partly)
    fail(ErrorCode::invalid_argument,
         "{}: an instruct-pix2pix model, whose UNet takes {} channels: expected --init-image without a mask, found {}",
         printable(info.path), files.unet.in_channels, inputs.init_image ? "a mask" : "no picture");
  if (inputs.strength)
    fail(ErrorCode::invalid_argument,
         "--strength: {} sees the whole picture at every step; expected --image-guidance-scale instead",
         printable(info.path));
  return PictureTask::instruct;
}

void TextToImagePipeline::Impl::resolve_picture(Job& job, bool to_run) const {
  TextToImageRequest& r = job.request;
  job.task = picture_task(r.image, to_run);
  const int64_t multiple = std::max<int64_t>(8, files.vae.downscale());
  // A size that was asked for is the canvas's; else the picture's edges go on to a whole number of latents.
  job.extends_picture = r.width == 0 && r.height == 0;
  std::tie(r.width, r.height) =
      Canvas::size_for(r.image, r.width, r.height, info.default_width, info.default_height, multiple);
  if (job.task != PictureTask::none)
    r.image.strength = job.task == PictureTask::instruct ? 1 : pipelines::strength_of(r);
  job.instructed = job.task == PictureTask::instruct && r.guidance_scale > 1 && r.image.image_guidance_scale >= 1 &&
                   !takes_guidance_scale();
}

void TextToImagePipeline::Impl::check_latents(const Job& job, const char* option,
                                              const std::optional<Tensor>& latents) const {
  if (!latents) return;
  const Shape expected = {job.request.num_images_per_prompt, files.vae.latent_channels, job.latent_height,
                          job.latent_width};
  if (!(latents->shape() == expected) || latents->dtype() != DType::f32)
    fail(ErrorCode::invalid_argument, "{}: expected latents of shape {} in f32, found {} in {}", option, expected.str(),
         latents->shape().str(), to_string(latents->dtype()));
}

// ---- the encoder ---------------------------------------------------------------------------------------------------

Component& TextToImagePipeline::Impl::vae_encoder() {
  // Made when first asked for: many models come with the decoder alone.
  if (!vae_encoder_)
    vae_encoder_ = std::make_unique<Component>(
        files.tiny_vae ? models::autoencoder_tiny_encoder(*files.tiny_vae) : models::autoencoder_kl_encoder(files.vae),
        files.vae_weights, context, vae_decoder->precision(), arena, !options.expand_weights);
  vae_encoder_->set_observer(encoder_observer);
  return *vae_encoder_;
}

Bindings TextToImagePipeline::Impl::encoder_sizes(const Job& job) const {
  return {{"batch", 1}, {"height", job.request.height}, {"width", job.request.width}};
}

Tensor TextToImagePipeline::Impl::encode_moments(const Job& job, const Tensor& pixels) {
  enter(vae_encoder());
  const auto session = vae_encoder().session(encoder_sizes(job), residency.bands);
  const auto to = session->tensor("sample").span<float>();
  const auto from = pixels.span<float>();
  std::copy(from.begin(), from.end(), to.begin());
  session->run();
  return session->tensor(files.tiny_vae ? "latents" : "moments").clone();
}

// ---- the first sample ----------------------------------------------------------------------------------------------

namespace {

// mean + exp(½·clamp(log variance))·noise; without noise the mean. Kingma & Welling 2014.
Tensor from_posterior(const Tensor& moments, std::span<const float> noise) {
  Tensor out = Tensor::empty(DType::f32, {1, moments.dim(1) / 2, moments.dim(2), moments.dim(3)});
  const auto values = out.span<float>();
  const float *mean = moments.data<float>(), *log_variance = mean + values.size();
  for (size_t j = 0; j < values.size(); ++j)
    values[j] =
        noise.empty() ? mean[j] : mean[j] + std::exp(0.5f * std::clamp(log_variance[j], -30.0f, 20.0f)) * noise[j];
  return out;
}

Tensor repeated(const Tensor& item, int64_t count) {
  Tensor out = Tensor::empty(DType::f32, {count, item.dim(1), item.dim(2), item.dim(3)});
  const auto from = item.span<float>(), to = out.span<float>();
  for (size_t begin = 0; begin < to.size(); begin += from.size())
    std::copy(from.begin(), from.end(), to.begin() + static_cast<ptrdiff_t>(begin));
  return out;
}

}  // namespace

Tensor TextToImagePipeline::Impl::initial_latents(const Job& job, sampling::RunNoise& noise) const {
  if (job.request.initial_latents) return job.request.initial_latents->clone();
  const Tensor latents = Tensor::empty(
      DType::f32, {job.request.num_images_per_prompt, files.vae.latent_channels, job.latent_height, job.latent_width});
  noise.first(latents.span<float>());
  return latents;
}

TextToImagePipeline::Impl::Start TextToImagePipeline::Impl::start_of(const Job& job, const Canvas* canvas,
                                                                     sampling::RunNoise& noise,
                                                                     const sampling::Sampler& sampler) {
  const int64_t channels = files.vae.latent_channels, pictures = job.request.num_images_per_prompt;
  const Shape item = {1, channels, job.latent_height, job.latent_width};
  // Drawn from the posterior with the noise that comes next, in the scale of the diffusion model.
  const auto encode = [&](const Tensor& pixels) {
    Tensor latents;
    if (files.tiny_vae) {
      latents = encode_moments(job, pixels);
    } else {
      std::vector<float> drawn(static_cast<size_t>(item.numel()));
      noise.posterior(drawn);
      latents = from_posterior(encode_moments(job, pixels), drawn);
    }
    const auto values = latents.span<float>();
    const size_t plane = values.size() / static_cast<size_t>(channels);
    for (size_t j = 0; j < values.size(); ++j) {
      const auto [scale, shift] = files.vae.latent_scale(j / plane);
      values[j] = (values[j] - shift) * scale;
    }
    return latents;
  };
  const bool sees_mask = job.task == PictureTask::inpaint && files.unet.in_channels > channels;
  const bool pure_noise =
      job.task == PictureTask::none || job.task == PictureTask::instruct ||
      (job.task == PictureTask::inpaint && *job.request.image.strength == 1 && !sampler.always_starts_from_original());
  // The generator is drawn from in the order of diffusers' pipelines: the picture, the first sample, what the mask
  // leaves.
  Start start;
  if (job.request.noisy_latents) {
    start.latents = job.request.noisy_latents->clone();
    return start;
  }
  if (job.begins_from_latents) {
    start.original = job.original;
  } else if (!job.pictures.empty()) {
    start.original = Tensor::empty(DType::f32, {pictures, item[1], item[2], item[3]});
    for (int64_t i = 0; i < pictures; ++i) {
      PictureInputs one;
      one.init_image = job.pictures[static_cast<size_t>(i)];
      const Tensor latents = encode(Canvas(one, job.request.width, job.request.height, false).pixels());
      const auto from = latents.span<float>(), to = start.original.rows(i, i + 1).span<float>();
      std::copy(from.begin(), from.end(), to.begin());
    }
  } else if (job.task == PictureTask::image_to_image ||
             (job.task == PictureTask::inpaint && (!sees_mask || !pure_noise)))
    start.original = repeated(encode(canvas->pixels()), pictures);
  start.latents = initial_latents(job, noise);
  if (job.task == PictureTask::inpaint) {
    start.mask = canvas->latent_mask(files.vae.downscale());
    if (sees_mask) {
      const Tensor left = encode(canvas->masked_pixels());
      start.extra = Tensor::empty(DType::f32, {1, channels + 1, job.latent_height, job.latent_width});
      const auto to = start.extra.span<float>(), from = left.span<float>();
      std::copy(start.mask.begin(), start.mask.end(), to.begin());
      std::copy(from.begin(), from.end(), to.begin() + static_cast<ptrdiff_t>(start.mask.size()));
    } else {
      // diffusers encodes what is left for these networks too, and leaves it; the generator has moved on.
      std::vector<float> unused(files.tiny_vae ? 0 : static_cast<size_t>(item.numel()));
      if (!unused.empty()) noise.posterior(unused);
      start.noise = start.latents.clone();
    }
  }
  if (job.task == PictureTask::instruct) {
    start.extra = encode_moments(job, canvas->pixels());
    if (!files.tiny_vae) start.extra = from_posterior(start.extra, {});
  }
  sampler.start(pure_noise ? std::span<const float>() : start.original.span<float>(), start.latents.span<float>());
  return start;
}

std::optional<sampling::KeptPart> TextToImagePipeline::Impl::Start::kept(bool differential) const {
  if (!noise.defined()) return std::nullopt;
  return sampling::KeptPart{original.span<float>(), noise.span<float>(), mask, differential};
}

}  // namespace easel
