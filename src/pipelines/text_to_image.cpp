// Text to image for Stable Diffusion: encode the prompt, denoise, decode.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/log.h"
#include "exec/profile.h"
#include "pipelines/guided_network.h"
#include "pipelines/requests.h"
#include "pipelines/text_to_image_impl.h"

namespace easel {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

// ---- a run ---------------------------------------------------------------------------------------------------------

TextToImageResult TextToImagePipeline::Impl::generate(Job job, const std::function<void(const StepProgress&)>& progress,
                                                      const TraceSink& trace) {
  const auto start = Clock::now();
  const TextToImageRequest& request = job.request;
  TextToImageResult result;
  Timings& seconds = result.seconds;
  seconds.load = info.load_seconds;
  const auto compiled = [&] {
    return text_encoder->compile_seconds() + unet->compile_seconds() + vae_decoder->compile_seconds() +
           (vae_encoder_ ? vae_encoder_->compile_seconds() : 0) + image_prompts->compile_seconds();
  };
  const double compiled_before = compiled();
  seconds.lora = use_text_adapters(job) + use_unet_adapters(job);
  if (previewer && previewer->prepare(*vae_decoder) && (options.offload || options.memory_limit > 0)) {
    vae_decoder->drop();
    arena->release();
  }
  // Not in the plan of a run without a picture.
  if (vae_encoder_ && !job.encodes_picture()) vae_encoder_->drop();
  residency = plan_residency(job, true);
  job.batch_size = residency.batch_size;

  auto stage = Clock::now();
  text_encoder->encode(texts_of(job));
  seconds.text_encode = seconds_since(stage) - (compiled() - compiled_before);
  if (trace) {
    const auto trace_texts = [&](const std::string& prefix, const std::vector<pipelines::PromptText>& texts) {
      for (size_t i = 0; i < texts.size(); ++i) {
        const std::string suffix = i == 0 ? "" : fmt::format(".{}", i);
        const auto& encoded = text_encoder->encoded(texts[i]);
        trace(prefix + "prompt_embeds" + suffix, encoded.states);
        if (encoded.pooled.defined()) trace(prefix + "pooled_prompt_embeds" + suffix, encoded.pooled);
      }
    };
    trace_texts("", job.prompt.texts());
    if (job.guided) trace_texts("negative_", job.negative.texts());
  }

  stage = Clock::now();
  const double compiled_with_text = compiled();
  image_prompts->encode(job.image_prompts, job.guided);
  if (!job.image_prompts.empty()) seconds.image_encode = seconds_since(stage) - (compiled() - compiled_with_text);
  for (size_t i = 0; trace && i < job.image_prompts.size(); ++i) {
    trace(fmt::format("ip_hidden_states.{}", i), job.image_prompts[i].states);
    if (job.guided) trace(fmt::format("negative_ip_hidden_states.{}", i), job.image_prompts[i].negative_states);
  }

  const int pictures = request.num_images_per_prompt;
  const Shape shape = {pictures, files.vae.latent_channels, job.latent_height, job.latent_width};
  const sampling::NoiseOptions noise_options = pipelines::noise_options_of(request);
  const auto noise = sampling::make_noise(noise_options, shape);
  const auto sampler = sampler_for(request);
  stage = Clock::now();
  const double compiled_so_far = compiled();
  std::optional<pipelines::Canvas> canvas;
  if (job.encodes_picture() && job.pictures.empty())
    canvas.emplace(request.image, request.width, request.height, job.extends_picture);
  const Start begin = start_of(job, canvas ? &*canvas : nullptr, *noise, *sampler);
  if (job.encodes_picture()) seconds.image_encode += seconds_since(stage) - (compiled() - compiled_so_far);
  const Tensor& latents = begin.latents;
  const auto sample = latents.span<float>();
  const std::optional<sampling::KeptPart> kept = begin.kept(request.image.differential);
  enter(*unet);

  const int batches = (pictures + job.batch_size - 1) / job.batch_size;
  std::vector<std::vector<double>> step_seconds(static_cast<size_t>(batches));
  StepProgress state{0, sampler->model_calls() * batches, 0};
  GuidedNetwork network(*this, job, begin.extra, [&](int batch, double took) {
    step_seconds[static_cast<size_t>(batch)].push_back(took);
    ++state.done;
    state.seconds = took;
    if (progress) progress(state);
  });
  for (const pipelines::ImagePrompt& prompt : job.image_prompts) prompt.adapter->file->release_pages();
  const auto after_step = [&, count = 0](int i, std::span<const float>) mutable {
    if (trace) trace(fmt::format("latents.{}", count++), latents);
    if (previewer) previewer->show(i + 1, shape);
  };
  sampler->run(network, sample, shape, *noise, after_step, kept ? &*kept : nullptr);
  for (const auto& batch : step_seconds) seconds.steps.insert(seconds.steps.end(), batch.begin(), batch.end());

  network.release();
  result.latents = latents;
  if (request.latents_only) {
    seconds.compile = compiled() - compiled_before;
    seconds.total = seconds_since(start);
    return result;
  }
  Tensor all_decoded;
  if (trace) all_decoded = Tensor::empty(DType::f32, {pictures, files.vae.out_channels, request.height, request.width});
  for (int batch = 0; batch < batches; ++batch) {
    const int first = batch * job.batch_size, last = std::min(first + job.batch_size, pictures);
    const double compiled_until_here = compiled();
    stage = Clock::now();
    const Tensor decoded = decode(job, latents.rows(first, last));
    seconds.decode.push_back(seconds_since(stage) - (compiled() - compiled_until_here));
    if (trace) std::memcpy(all_decoded.rows(first, last).raw(), decoded.raw(), static_cast<size_t>(decoded.bytes()));
    for (int i = 0; i < last - first; ++i) {
      Picture picture = pipelines::to_picture(decoded, i);
      result.pictures.push_back(canvas ? canvas->compose(std::move(picture)) : std::move(picture));
      result.pictures.back().seed = sampling::image_seed(noise_options, first + i);
      result.pictures.back().index = first + i;
    }
  }
  if (trace) trace("decoded", all_decoded);
  result.loras = job.loras;
  seconds.compile = compiled() - compiled_before;
  seconds.total = seconds_since(start);
  return result;
}

// ---- pictures ------------------------------------------------------------------------------------------------------

Tensor TextToImagePipeline::Impl::decode(const Job& job, const Tensor& latents) {
  enter(*vae_decoder);
  const int pictures = static_cast<int>(latents.dim(0)), at_once = residency.bands.band_bytes > 0 ? 1 : pictures;
  const auto session = vae_decoder->session(vae_sizes(job, at_once), residency.bands);
  const auto plane = static_cast<size_t>(job.latent_height * job.latent_width);
  Tensor decoded = session->tensor("decoded");
  if (at_once < pictures)
    decoded = Tensor::empty(DType::f32, {pictures, decoded.dim(1), decoded.dim(2), decoded.dim(3)});
  for (int i = 0; i < pictures; i += at_once) {
    const auto from = latents.rows(i, i + at_once).span<float>(), to = session->tensor("latents").span<float>();
    for (size_t k = 0; k < from.size(); ++k) {
      const auto [scale, shift] = files.vae.latent_scale(k / plane % static_cast<size_t>(files.vae.latent_channels));
      to[k] = from[k] / scale + shift;
    }
    session->run();
    if (at_once < pictures)
      std::memcpy(decoded.rows(i, i + at_once).raw(), session->tensor("decoded").raw(),
                  static_cast<size_t>(session->tensor("decoded").bytes()));
  }
  return decoded;
}

Picture pipelines::to_picture(const Tensor& decoded, int64_t index) {
  Picture picture;
  const int64_t channels = decoded.dim(1);
  picture.height = decoded.dim(2);
  picture.width = decoded.dim(3);
  const int64_t plane = picture.width * picture.height;
  const float* values = decoded.data<float>() + index * channels * plane;
  picture.rgb.resize(static_cast<size_t>(3 * plane));
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t p = 0; p < plane; ++p) {
      // The comparisons are written so that NaN becomes black.
      const float unit = values[std::min(c, channels - 1) * plane + p] * 0.5f + 0.5f;
      const float clamped = unit > 0 ? std::min(unit, 1.0f) : 0.0f;
      picture.rgb[static_cast<size_t>(3 * p + c)] = static_cast<uint8_t>(std::nearbyint(clamped * 255.0f));
    }
  return picture;
}

// ---- the public object ---------------------------------------------------------------------------------------------

TextToImagePipeline::TextToImagePipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TextToImagePipeline::~TextToImagePipeline() = default;
TextToImagePipeline::TextToImagePipeline(TextToImagePipeline&&) noexcept = default;
TextToImagePipeline& TextToImagePipeline::operator=(TextToImagePipeline&&) noexcept = default;

TextToImagePipeline TextToImagePipeline::load(const std::string& path, const LoadOptions& options) {
  LoadOptions filled = options;
  if (!filled.warn) filled.warn = [log = Logger()](const std::string& line) { log.warning(line); };
  const auto start = Clock::now();
  auto impl = std::make_unique<Impl>(path, filled);
  impl->info.load_seconds = seconds_since(start);
  return TextToImagePipeline(std::move(impl));
}

std::vector<Lora> TextToImagePipeline::loras_of(const TextToImageRequest& request) const {
  return impl_->resolve(request).loras;
}

void TextToImagePipeline::validate(const TextToImageRequest& request) const {
  const Impl::Job job = impl_->resolve(request);
  impl_->check_adapters(job);
  if (request.high_res_fix.scale != 1) impl_->second_pass(job);
}

TextToImageResult TextToImagePipeline::generate(const TextToImageRequest& request,
                                                const std::function<void(const StepProgress&)>& progress,
                                                const TraceSink& trace) {
  impl_->require_weights();
  const std::lock_guard lock(impl_->mutex);
  Impl::Job job = impl_->resolve(request);
  return request.high_res_fix.scale != 1 ? impl_->generate_in_two_passes(std::move(job), progress, trace)
                                         : impl_->generate(std::move(job), progress, trace);
}

Timings TextToImagePipeline::encode_prompts(const std::vector<TextToImageRequest>& requests) {
  impl_->require_weights();
  const std::lock_guard lock(impl_->mutex);
  if (requests.empty()) return {};
  const auto planned = Clock::now();
  std::vector<Impl::Job> jobs;
  for (const TextToImageRequest& request : requests) jobs.push_back(impl_->resolve(request));
  impl_->residency = impl_->plan_residency(jobs.front(), true);
  const auto start = Clock::now();
  const double compiled_before = impl_->text_encoder->compile_seconds();
  Timings seconds;
  // Neighbours with the same adapters go together.
  for (size_t begin = 0, end = 0; begin < jobs.size(); begin = end) {
    std::vector<pipelines::PromptText> texts;
    for (; end < jobs.size() && jobs[end].prompt.adapters == jobs[begin].prompt.adapters; ++end)
      for (pipelines::PromptText& text : Impl::texts_of(jobs[end])) texts.push_back(std::move(text));
    seconds.lora += impl_->use_text_adapters(jobs[begin]);
    impl_->text_encoder->encode(texts);
  }
  const double packing = impl_->text_encoder->compile_seconds() - compiled_before;
  seconds.text_encode = seconds_since(start) - packing - seconds.lora;
  seconds.compile = packing + std::chrono::duration<double>(start - planned).count();
  return seconds;
}

void TextToImagePipeline::set_preview_sink(const PreviewSink& sink, const PreviewOptions& preview) {
  const std::lock_guard lock(impl_->mutex);
  impl_->previewer.reset();
  if (!sink) return;
  Impl& p = *impl_;
  p.previewer =
      std::make_unique<pipelines::Previewer>(sink, preview, p.files, p.context, p.vae_decoder->precision(), p.arena);
}

void TextToImagePipeline::set_launch_sink(const LaunchSink& sink) {
  const std::lock_guard lock(impl_->mutex);
  const auto observer = [&](const char* name) {
    return sink ? exec::report_to(sink, name) : exec::Session::Observer();
  };
  impl_->text_encoder->set_observer([&](const std::string& name) { return observer(name.c_str()); });
  impl_->image_prompts->set_observer(observer("image_encoder"));
  impl_->unet->set_observer(observer("unet"));
  impl_->vae_decoder->set_observer(observer("vae"));
  impl_->encoder_observer = observer("vae_encoder");
  if (impl_->vae_encoder_) impl_->vae_encoder_->set_observer(impl_->encoder_observer);
}

const TextToImagePipeline::Info& TextToImagePipeline::info() const { return impl_->info; }

}  // namespace easel
