// Text to image for Stable Diffusion: encode the prompt, denoise, decode.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "exec/profile.h"
#include "models/autoencoder_kl.h"
#include "models/unet_2d_condition.h"
#include "pipelines/requests.h"
#include "pipelines/text_to_image_impl.h"

namespace easel {

using pipelines::chosen_dtype;
using pipelines::Component;
using pipelines::Residency;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr int kMaxSteps = 10000;
constexpr int kMaxPictures = 4096;
constexpr int64_t kMaxSide = int64_t{1} << 24;  // pixels; far above what any memory holds

}  // namespace

DType pipelines::chosen_dtype(Precision& precision, device::Isa isa) {
  if (precision == Precision::automatic)
    precision = isa >= device::Isa::avx512_bf16 ? Precision::bf16 : Precision::fp32;
  return precision == Precision::bf16 ? DType::bf16 : precision == Precision::fp16 ? DType::f16 : DType::f32;
}

Precision parse_precision(const std::string& name) {
  if (name == "fp32") return Precision::fp32;
  if (name == "bf16") return Precision::bf16;
  if (name == "fp16") return Precision::fp16;
  if (name == "int8") fail(ErrorCode::unsupported, "int8 is not available yet; expected fp32, bf16 or fp16");
  fail(ErrorCode::invalid_argument, "expected fp32, bf16 or fp16, found '{}'", printable(name));
}

std::string to_string(Precision precision) {
  switch (precision) {
    case Precision::automatic: return "automatic";
    case Precision::fp32: return "fp32";
    case Precision::bf16: return "bf16";
    case Precision::fp16: return "fp16";
  }
  return "?";
}

// ---- loading -------------------------------------------------------------------------------------------------------

namespace {

// One per text encoder. Given folders come first, then the model's own; one vocabulary serves both of SDXL's encoders.
std::vector<text::ClipTokenizer> load_tokenizers(const pipelines::ModelFiles& files, const LoadOptions& options) {
  std::vector<text::ClipTokenizer> out;
  if (!options.tokenizer_2.empty() && files.text_encoders.back().name != "text_encoder_2")
    fail(ErrorCode::invalid_argument, "--tokenizer-2 {}: expected a model with a second text encoder, found {}",
         printable(options.tokenizer_2, 400), files.family_name());
  for (const pipelines::TextEncoderFiles& encoder : files.text_encoders) {
    const bool second = encoder.name == "text_encoder_2", alone = files.text_encoders.size() == 1;
    std::string folder = second ? options.tokenizer_2 : options.tokenizer;
    if (folder.empty() && alone) folder = options.tokenizer;
    if (folder.empty()) folder = encoder.tokenizer_folder;
    if (folder.empty()) folder = options.tokenizer;
    if (folder.empty())
      fail(ErrorCode::io,
           "{}: a single-file checkpoint holds no tokenizer; expected --tokenizer with a folder of vocab.json and "
           "merges.txt",
           printable(files.path));
    out.push_back(text::ClipTokenizer::load(folder, encoder.pad_token));
  }
  return out;
}

}  // namespace

TextToImagePipeline::Impl::Impl(const std::string& path, const LoadOptions& load_options)
    : options(load_options),
      files(pipelines::read_model(path,
                                  {load_options.unet_file, load_options.vae_file, load_options.text_encoder_file,
                                   load_options.text_encoder_2_file},
                                  !load_options.plan_only)),
      context(std::make_shared<device::Context>(load_options.threads)) {
  context->cancel = options.cancel;
  if (!options.prediction_type.empty()) {
    if (options.prediction_type != "epsilon" && options.prediction_type != "v_prediction" &&
        options.prediction_type != "sample")
      fail(ErrorCode::invalid_argument, "--prediction-type: expected epsilon, v_prediction or sample, found \"{}\"",
           printable(options.prediction_type, 40));
    files.scheduler["prediction_type"] = options.prediction_type;
    files.prediction_reason = "--prediction-type";
  }

  adapters = std::make_unique<pipelines::Adapters>(files, options.warn);
  text_encoder = std::make_unique<pipelines::PromptEncoder>(files, load_tokenizers(files, options), options, context,
                                                            chosen_dtype(options.text_encoder, context->isa), arena,
                                                            [this](Component& next) { enter(next); });
  unet = std::make_unique<Component>(models::unet_2d_condition(files.unet), files.unet_weights, context,
                                     chosen_dtype(options.unet, context->isa), arena, !options.expand_weights);
  vae_decoder = std::make_unique<Component>(pipelines::vae_decoder_graph(files), files.vae_weights, context,
                                            chosen_dtype(options.vae, context->isa), arena, !options.expand_weights);

  info.path = path;
  info.family = files.family_name();
  info.prediction_type = files.scheduler.value("prediction_type", "epsilon");
  info.scheduler_class = files.scheduler.value("_class_name", "");
  info.default_width = files.sample_width * files.vae.downscale();
  info.default_height = files.sample_height * files.vae.downscale();
  info.unet = options.unet;
  info.vae = options.vae;
  info.text_encoder = options.text_encoder;
  info.device = fmt::format("cpu ({}, {})", device::cpu_model_name(), to_string(context->isa));
  info.threads = context->pool->threads();
}

void TextToImagePipeline::Impl::require_weights() const {
  if (options.plan_only)
    fail(ErrorCode::invalid_argument, "{}: was loaded with plan_only, which runs nothing", printable(info.path));
}

// ---- requests ------------------------------------------------------------------------------------------------------

namespace {

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
  return {{"batch", plan.split_guidance ? pictures : pictures * branches},
          {"height", job.latent_height},
          {"width", job.latent_width},
          {"tokens", job.tokens}};
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
  models::UNet2DConditionVariant variant{.perturbed_layers = {}, .freeu = r.freeu.has_value()};
  const auto make = [&] { return models::unet_2d_condition(files.unet, variant); };
  job.variant = variant.freeu ? "freeu" : "";
  if (variant.freeu) unet->add_variant(job.variant, make);
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

// ---- denoising -----------------------------------------------------------------------------------------------------

Tensor TextToImagePipeline::Impl::initial_latents(const Job& job, sampling::RunNoise& noise) const {
  if (job.request.initial_latents) return job.request.initial_latents->clone();
  const Tensor latents = Tensor::empty(
      DType::f32, {job.request.num_images_per_prompt, files.vae.latent_channels, job.latent_height, job.latent_width});
  noise.first(latents.span<float>());
  return latents;
}

struct TextToImagePipeline::Impl::Denoiser {
  /// more: the network's further input channels, [1, C', h, w] or empty.
  Denoiser(Impl& pipeline, const Job& job, int count, const Branches& run_beside, const Tensor& more)
      : beside(run_beside),
        conditioning(*pipeline.text_encoder, job.prompt, beside.negative ? &job.negative : nullptr,
                     prompts_beside(job, beside), pipelines::added_inputs(job.request, pipeline.files.unet)),
        extra(more),
        instructed(job.instructed && beside.middle),
        split(beside.count() > 0 && pipeline.residency.split_guidance),
        pictures(count) {
    const Bindings sizes = pipeline.unet_sizes(job, pipeline.residency, pictures, beside);
    // Where guidance pauses or is another, sessions are others too: those of the same sizes hold other texts.
    const int kind = (beside.negative ? 1 : 0) + (beside.middle ? 2 : 0) + (beside.perturbed ? 4 : 0);
    const int first = beside == job.beside() ? 0 : (kind + 1) * static_cast<int>(job.prompt.branches.size() + 3);
    const std::string& variant = beside.perturbed ? job.perturbed_variant : job.variant;
    for (int branch = 0; branch < (split ? conditioning.branches() : 1); ++branch)
      sessions.push_back(pipeline.unet->session(sizes, {}, first + branch, variant));
    if (beside.perturbed)
      for (int branch = 0; branch < conditioning.branches(); ++branch)
        fill("perturbation", branch, branch + 1 == conditioning.branches() ? 1.0f : 0.0f);
    if (job.request.freeu) {
      const FreeU& f = *job.request.freeu;
      const std::array<double, 4> factors = {f.b1, f.b2, f.s1, f.s2};
      for (const auto& session : sessions)
        std::copy(factors.begin(), factors.end(), session->tensor("freeu").span<float>().begin());
    }
  }

  static std::vector<const pipelines::PromptPlan*> prompts_beside(const Job& job, const Branches& beside) {
    std::vector<const pipelines::PromptPlan*> plans;
    if (beside.middle) plans.push_back(&*job.middle);
    if (beside.perturbed) plans.push_back(&job.prompt);
    return plans;
  }

  /// Before the predictions of a step from 0: what the prompts say there.
  void at_step(int step) {
    const std::vector<int> changed =
        conditioning.fill(step, [this](const char* name, int branch) { return rows(name, branch); });
    if (changed.empty()) return;
    if (!split) return sessions[0]->run(graph::Rate::request);
    for (const int branch : changed) sessions[static_cast<size_t>(branch)]->run(graph::Rate::request);
  }

  // sample: [n, C, h, w], already scaled; the predictions stay in the sessions until the next call.
  sampling::Branches predict(std::span<const float> sample, double timestep, const Shape& shape, double progress) {
    for (const auto& session : sessions) {
      const Tensor t = session->tensor("timestep");
      fill_sample(*session, sample);
      std::fill_n(t.data<float>(), t.numel(), static_cast<float>(timestep));
      session->run(graph::Rate::schedule);
      session->run(graph::Rate::step);
    }
    conditioning.mix([this](const char* name, int branch) { return rows(name, branch); });
    const auto of = [this](int branch) { return std::span<const float>(rows("noise_pred", branch).span<float>()); };
    int next = conditioning.first_beside();
    sampling::Branches out{of(beside.negative ? 1 : 0), {}, {}, shape, progress, timestep};
    if (beside.negative) out.unconditional = of(0);
    if (beside.middle) out.middle = of(next++);
    if (beside.perturbed) out.perturbed = of(next++);
    return out;
  }

  // Every branch of every picture sees the sample, and beside it the further channels; where the picture guides, the
  // negative branch does not see it.
  void fill_sample(exec::Session& session, std::span<const float> sample) const {
    const auto values = session.tensor("sample").span<float>();
    const std::span<const float> more = extra.defined() ? extra.span<float>() : std::span<float>();
    const size_t item = sample.size() / static_cast<size_t>(pictures), row = item + more.size();
    const bool blind = instructed && (!split || &session == sessions.front().get());
    for (size_t r = 0; r * row < values.size(); ++r) {
      const size_t picture = r % static_cast<size_t>(pictures);
      auto to = values.begin() + static_cast<ptrdiff_t>(r * row);
      to = std::copy_n(sample.begin() + static_cast<ptrdiff_t>(picture * item), item, to);
      if (blind && r < static_cast<size_t>(pictures))
        std::fill_n(to, more.size(), 0.0f);
      else
        std::copy(more.begin(), more.end(), to);
    }
  }

  void fill(const char* name, int branch, float value) const {
    const Tensor part = rows(name, branch);
    std::fill_n(part.data<float>(), part.numel(), value);
  }

  // The part of an input or output that belongs to a branch.
  Tensor rows(const char* name, int branch) const {
    if (split) return sessions[static_cast<size_t>(branch)]->tensor(name);
    return sessions[0]->tensor(name).rows(branch * pictures, (branch + 1) * pictures);
  }

  Branches beside;
  pipelines::Conditioning conditioning;
  std::vector<std::shared_ptr<exec::Session>> sessions;  // one, or one per branch
  const Tensor& extra;
  bool instructed, split;
  int pictures;
};

// The network as samplers see it: all pictures of a prompt, batch by batch, each with the branches that the guidance
// reads.
class TextToImagePipeline::Impl::GuidedNetwork final : public sampling::Model {
 public:
  using AfterBatch = std::function<void(int batch, double seconds)>;

  GuidedNetwork(Impl& pipeline, const Job& job, const Tensor& extra, AfterBatch after)
      : pipeline_(pipeline), job_(job), extra_(extra), guidance_(pipeline.guidance_for(job)), after_(std::move(after)) {
    last_timestep_ = static_cast<double>(pipeline.files.scheduler.value("num_train_timesteps", 1000) - 1);
    const int pictures = job.request.num_images_per_prompt;
    for (int begin = 0; begin < pictures; begin += job.batch_size)
      denoiser(std::min(job.batch_size, pictures - begin), job.beside())
          .at_step(0);  // no part of the first step's time
  }

  void predict(const sampling::ModelCall& call) override {
    const int pictures = job_.request.num_images_per_prompt;
    const size_t item = call.input.size() / static_cast<size_t>(pictures);
    const double progress = 1 - call.timestep / last_timestep_;
    const Branches beside = {
        guidance_->wants_unconditional(progress) || !call.unconditional.empty() || job_.prompt.mixed(),
        guidance_->wants_middle(progress), guidance_->wants_perturbed(progress)};
    for (int begin = 0, batch = 0; begin < pictures; begin += job_.batch_size, ++batch) {
      const Clock::time_point start = Clock::now();
      const int count = std::min(job_.batch_size, pictures - begin);
      const size_t offset = static_cast<size_t>(begin) * item, size = static_cast<size_t>(count) * item;
      const Shape shape = {count, pipeline_.files.vae.latent_channels, job_.latent_height, job_.latent_width};
      Denoiser& network = denoiser(count, beside);
      network.at_step(call.step);
      const sampling::Branches branches =
          network.predict(call.input.subspan(offset, size), call.timestep, shape, progress);
      guidance_->combine(branches, call.output.subspan(offset, size));
      if (!call.unconditional.empty())
        std::copy(branches.unconditional.begin(), branches.unconditional.end(),
                  call.unconditional.begin() + static_cast<ptrdiff_t>(offset));
      after_(batch, seconds_since(start));
    }
    if (pipeline_.previewer) pipeline_.previewer->saw(call);
  }

  /// Lets go of the sessions: they hold what the UNet may have to give back.
  void release() { denoisers_.clear(); }

 private:
  Denoiser& denoiser(int pictures, const Branches& beside) {
    auto& found = denoisers_[{pictures, beside}];  // the last batch may be smaller
    if (!found) found = std::make_unique<Denoiser>(pipeline_, job_, pictures, beside, extra_);
    return *found;
  }

  Impl& pipeline_;
  const Job& job_;
  const Tensor& extra_;
  sampling::GuidancePtr guidance_;
  AfterBatch after_;
  double last_timestep_;
  std::map<std::pair<int, Branches>, std::unique_ptr<Denoiser>> denoisers_;
};

TextToImageResult TextToImagePipeline::Impl::generate(Job job, const std::function<void(const StepProgress&)>& progress,
                                                      const TraceSink& trace) {
  const auto start = Clock::now();
  const TextToImageRequest& request = job.request;
  TextToImageResult result;
  Timings& seconds = result.seconds;
  seconds.load = info.load_seconds;
  const auto compiled = [&] {
    return text_encoder->compile_seconds() + unet->compile_seconds() + vae_decoder->compile_seconds() +
           (vae_encoder_ ? vae_encoder_->compile_seconds() : 0);
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
  if (job.encodes_picture()) seconds.image_encode = seconds_since(stage) - (compiled() - compiled_so_far);
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
  impl_->unet->set_observer(observer("unet"));
  impl_->vae_decoder->set_observer(observer("vae"));
  impl_->encoder_observer = observer("vae_encoder");
  if (impl_->vae_encoder_) impl_->vae_encoder_->set_observer(impl_->encoder_observer);
}

const TextToImagePipeline::Info& TextToImagePipeline::info() const { return impl_->info; }

}  // namespace easel
