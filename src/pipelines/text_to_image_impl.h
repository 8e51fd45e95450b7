// The inside of TextToImagePipeline.
#pragma once

#include <map>
#include <mutex>
#include <optional>

#include <easel/pipeline.h>

#include "pipelines/adapters.h"
#include "pipelines/canvas.h"
#include "pipelines/component.h"
#include "pipelines/conditioning.h"
#include "pipelines/image_prompts.h"
#include "pipelines/model_files.h"
#include "pipelines/preview.h"
#include "pipelines/prompt_encoder.h"
#include "pipelines/residency.h"
#include "sampling/guidance.h"
#include "sampling/noise.h"
#include "sampling/sampler.h"

namespace easel {

namespace pipelines {

/// What a run makes of a request's picture.
enum class PictureTask {
  none,
  image_to_image,  ///< noise over its latents, and from there
  inpaint,         ///< a part of it anew
  instruct         ///< the network sees it beside the latents, with a branch of guidance for it
};

}  // namespace pipelines

struct TextToImagePipeline::Impl {
  // text_to_image_load.cpp
  Impl(const std::string& path, const LoadOptions& load_options);

  /// Throws invalid_argument for a model that was loaded to be described only.
  void require_weights() const;
  /// Whether the network was distilled with guidance: the scale is an input, and no negative branch runs.
  bool takes_guidance_scale() const { return files.unet.time_cond_proj_dim > 0; }

  /// What a call of the UNet runs beside the prompt's conditionings.
  struct Branches {
    bool negative = false, middle = false, perturbed = false;
    int count() const { return (negative ? 1 : 0) + (middle ? 1 : 0) + (perturbed ? 1 : 0); }
    auto operator<=>(const Branches&) const = default;  // NOLINT(modernize-use-nullptr): it means the 0 inside
  };

  /// A request with its defaults filled in.
  struct Job {
    TextToImageRequest request;
    int64_t latent_height = 0, latent_width = 0;
    bool guided = false;
    int batch_size = 1;
    pipelines::PromptPlan prompt, negative;
    std::vector<Lora> loras;                            ///< of the request, then those of the prompt
    std::optional<pipelines::PromptPlan> middle;        ///< of guidance by two prompts
    std::vector<pipelines::ImagePrompt> image_prompts;  ///< that act
    int64_t tokens = 0;                                 ///< of the conditioning, all chunks
    /// Of the UNet: for the request, and where perturbed attention guides it; see UNet2DConditionVariant.
    std::string variant, perturbed_variant;

    pipelines::PictureTask task = pipelines::PictureTask::none;
    bool extends_picture = false;  ///< edges go on to the canvas's size instead of being resized to it
    // Of a second pass (high_res_fix.cpp), which begins from what the first one made.
    bool begins_from_latents = false;
    Tensor original;                      ///< [N, C, h, w]
    std::vector<PictureSource> pictures;  ///< or N pictures
    bool encodes_picture() const { return task != pipelines::PictureTask::none && !begins_from_latents; }
    bool instructed = false;  ///< guided by the picture too: a third branch, which sees it without the prompt

    bool perturbed() const { return request.guidance.pag_scale > 0; }
    /// All that guidance may run beside the prompt's conditionings.
    Branches beside() const { return {guided, middle.has_value(), perturbed()}; }
  };

  // text_to_image_resolve.cpp
  /// Throws invalid_argument naming the option. to_run false: the picture that the model needs may be missing.
  Job resolve(const TextToImageRequest& request, bool to_run = true) const;
  /// Whether the guidance scale asks for a negative branch.
  bool guided_by_scale(const Job& job) const;
  std::unique_ptr<sampling::Sampler> sampler_for(const TextToImageRequest& request) const;
  sampling::GuidancePtr guidance_for(const Job& job) const;
  /// Of a full batch as planned, or of one of so many pictures.
  Bindings unet_sizes(const Job& job, const pipelines::Residency& plan) const;
  Bindings unet_sizes(const Job& job, const pipelines::Residency& plan, int pictures, const Branches& beside) const;
  Bindings vae_sizes(const Job& job, const pipelines::Residency& plan) const;
  Bindings vae_sizes(const Job& job, int pictures) const;
  /// The texts whose embeddings the job needs, those of the negative prompt first.
  static std::vector<pipelines::PromptText> texts_of(const Job& job);
  /// The UNet's variants that the job runs, made where they are not there yet. Throws invalid_argument.
  void add_variants(Job& job) const;

  // text_to_image_adapters.cpp
  /// Fills in the adapters of a job whose prompts are planned. Throws io for files that are not there.
  void resolve_adapters(Job& job) const;
  /// Throws for adapters that do not fit the model.
  void check_adapters(const Job& job) const;
  /// From here on the networks are those of the job. Return seconds.
  double use_text_adapters(const Job& job);
  /// Those of the UNet are LoRAs and the matrices of image prompts.
  double use_unet_adapters(const Job& job);

  // residency.cpp
  /// The first way to run the request that fits into the memory limit, and (within_available) into the machine.
  /// Throws out_of_memory before anything is packed, saying what would fit.
  pipelines::Residency plan_residency(const Job& job, bool within_available);
  /// The first way that fits into `budget`, else the one that takes least; in another precision if given.
  pipelines::Residency smallest(const Job& job, int64_t budget, VaeTiling tiling, std::optional<DType> dtype);
  /// Working memory of the decoder, not in bands.
  int64_t whole_decoder_bytes(const Job& job, const pipelines::Residency& residency, std::optional<DType> dtype);
  /// The bands in which the decoder takes least: its largest pictures are never kept.
  exec::BandOptions least_bands(const Job& job) const;
  /// Fills in the bytes of each stage.
  void measure(const Job& job, pipelines::Residency& residency, std::optional<DType> dtype);
  /// "; would fit: --width 384 --height 384 (1.9 GB)"
  std::string what_fits(const Job& job, int64_t budget);
  /// A component is about to be used: others give up what they hold if they are to run one at a time.
  void enter(pipelines::Component& next);

  // high_res_fix.cpp
  /// Throws invalid_argument for options that do not go together.
  Job second_pass(const Job& first) const;
  TextToImageResult generate_in_two_passes(Job first, const std::function<void(const StepProgress&)>& progress,
                                           const TraceSink& trace);

  // latent_inputs.cpp
  /// Throws invalid_argument where the model and the inputs do not go together.
  pipelines::PictureTask picture_task(const PictureInputs& inputs, bool to_run) const;
  /// Fills in the task, and with it size and strength.
  void resolve_picture(Job& job, bool to_run) const;
  /// Throws invalid_argument unless the latents, where given, are those of the job's pictures.
  void check_latents(const Job& job, const char* option, const std::optional<Tensor>& latents) const;
  /// Where a run begins.
  struct Start {
    Tensor latents;           ///< [N, C, h, w], the first sample
    Tensor original, noise;   ///< [N, C, h, w] of what stays; empty where the network sees the mask
    std::vector<float> mask;  ///< [h·w]
    Tensor extra;             ///< [1, C', h, w]: further input channels of the network
    std::optional<sampling::KeptPart> kept(bool differential) const;
  };
  Tensor initial_latents(const Job& job, sampling::RunNoise& noise) const;
  /// canvas: nullptr without a picture.
  Start start_of(const Job& job, const pipelines::Canvas* canvas, sampling::RunNoise& noise,
                 const sampling::Sampler& sampler);
  pipelines::Component& vae_encoder();
  Bindings encoder_sizes(const Job& job) const;
  /// [1, 3, H, W] → mean and log variance, [1, 2C, h, w]; of a TAESD the latents, [1, C, h, w].
  Tensor encode_moments(const Job& job, const Tensor& pixels);

  // guided_network.h
  /// One batch of pictures through the UNet.
  struct Denoiser;
  class GuidedNetwork;

  // text_to_image.cpp
  TextToImageResult generate(Job job, const std::function<void(const StepProgress&)>& progress, const TraceSink& trace);
  /// Latents of one batch → decoded [n, 3, H, W], −1 … 1.
  Tensor decode(const Job& job, const Tensor& latents);

  LoadOptions options;
  pipelines::ModelFiles files;
  device::ContextPtr context;
  std::shared_ptr<exec::Arena> arena = std::make_shared<exec::Arena>();
  std::unique_ptr<pipelines::Adapters> adapters;
  std::shared_ptr<const pipelines::Adaptation> unet_adapters;  ///< what the UNet was last given …
  std::string unet_image_prompts;                              ///< … and with which image prompts
  std::unique_ptr<pipelines::PromptEncoder> text_encoder;
  std::unique_ptr<pipelines::ImagePrompts> image_prompts;
  std::unique_ptr<pipelines::Component> unet, vae_decoder;
  std::unique_ptr<pipelines::Component> vae_encoder_;  ///< made when first asked for
  exec::Session::Observer encoder_observer;            ///< for it
  std::unique_ptr<pipelines::Previewer> previewer;     ///< where previews are wanted
  pipelines::Residency residency;                      ///< of the request that runs
  Info info;
  std::mutex mutex;
};

namespace pipelines {

/// −1 … 1 → 0 … 255, clamped, rounded to nearest even. decoded: [n, 3, H, W]; picture `index` of it.
Picture to_picture(const Tensor& decoded, int64_t index);

}  // namespace pipelines

}  // namespace easel
