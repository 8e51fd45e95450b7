// The inside of TextToImagePipeline.
#pragma once

#include <map>
#include <mutex>
#include <optional>

#include <easel/pipeline.h>

#include "pipelines/adapters.h"
#include "pipelines/component.h"
#include "pipelines/conditioning.h"
#include "pipelines/model_files.h"
#include "pipelines/prompt_encoder.h"
#include "pipelines/residency.h"
#include "sampling/guidance.h"
#include "sampling/noise.h"
#include "sampling/sampler.h"

namespace easel {

struct TextToImagePipeline::Impl {
  Impl(const std::string& path, const LoadOptions& load_options);

  /// Throws invalid_argument for a model that was loaded to be described only.
  void require_weights() const;

  /// A request with its defaults filled in.
  struct Job {
    TextToImageRequest request;
    int64_t latent_height = 0, latent_width = 0;
    bool guided = false;
    int batch_size = 1;
    pipelines::PromptPlan prompt, negative;
    int64_t tokens = 0;       ///< of the conditioning, all chunks
    std::vector<Lora> loras;  ///< of the request, then those of the prompt
  };
  /// Throws invalid_argument naming the option.
  Job resolve(const TextToImageRequest& request) const;
  // text_to_image_adapters.cpp
  /// Fills in the adapters of a job whose prompts are planned. Throws io for files that are not there.
  void resolve_adapters(Job& job) const;
  /// Throws for adapters that do not fit the model.
  void check_adapters(const Job& job) const;
  /// From here on the networks are those of the job. Return seconds.
  double use_text_adapters(const Job& job);
  double use_unet_adapters(const Job& job);
  static const exec::Replacements& replacements_of(const pipelines::ComponentReplacements& all,
                                                   const std::string& component);
  // residency.cpp
  /// The first way to run the request that fits into the memory limit, and (within_available) into the machine.
  /// Throws out_of_memory before anything is packed, saying what would fit.
  pipelines::Residency plan_residency(const Job& job, bool within_available);
  /// The first way that fits into `budget`, else the one that takes least; in another precision if given.
  pipelines::Residency smallest(const Job& job, int64_t budget, VaeTiling tiling, std::optional<DType> dtype);
  /// The bands in which the decoder takes least: its largest pictures are never kept.
  exec::BandOptions least_bands(const Job& job) const;
  /// Fills in the bytes of each stage.
  void measure(const Job& job, pipelines::Residency& residency, std::optional<DType> dtype);
  /// "; would fit: --width 384 --height 384 (1.9 GB)"
  std::string what_fits(const Job& job, int64_t budget);
  /// A component is about to be used: others give up what they hold if they are to run one at a time.
  void enter(pipelines::Component& next);

  std::unique_ptr<sampling::Sampler> sampler_for(const TextToImageRequest& request) const;
  sampling::GuidancePtr guidance_for(const Job& job) const;

  TextToImageResult generate(Job job, const std::function<void(const StepProgress&)>& progress, const TraceSink& trace);
  /// The texts whose embeddings the job needs, those of the negative prompt first.
  static std::vector<pipelines::PromptText> texts_of(const Job& job);
  Tensor initial_latents(const Job& job, sampling::RunNoise& noise) const;

  /// One batch of pictures through the UNet, with or without the negative prompt.
  struct Denoiser;
  class GuidedNetwork;
  /// Latents of one batch → decoded [n, 3, H, W], −1 … 1.
  Tensor decode(const Job& job, const Tensor& latents);

  /// Of a full batch as planned, or of one of so many pictures, with or without the negative prompt.
  Bindings unet_sizes(const Job& job, const pipelines::Residency& plan) const;
  Bindings unet_sizes(const Job& job, const pipelines::Residency& plan, int pictures, bool negative) const;
  Bindings vae_sizes(const Job& job, const pipelines::Residency& plan) const;
  Bindings vae_sizes(const Job& job, int pictures) const;

  LoadOptions options;
  pipelines::ModelFiles files;
  device::ContextPtr context;
  std::shared_ptr<exec::Arena> arena = std::make_shared<exec::Arena>();
  std::unique_ptr<pipelines::Adapters> adapters;
  std::shared_ptr<const pipelines::Adaptation> unet_adapters;  ///< what the UNet was last given
  std::unique_ptr<pipelines::PromptEncoder> text_encoder;
  std::unique_ptr<pipelines::Component> unet, vae_decoder;
  pipelines::Residency residency;  ///< of the request that runs
  Info info;
  std::mutex mutex;
};

namespace pipelines {

/// −1 … 1 → 0 … 255, clamped, rounded to nearest even. decoded: [n, 3, H, W]; picture `index` of it.
Picture to_picture(const Tensor& decoded, int64_t index);

}  // namespace pipelines

}  // namespace easel
