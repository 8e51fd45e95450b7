// The inside of TextToImagePipeline.
#pragma once

#include <map>
#include <mutex>
#include <optional>

#include <easel/pipeline.h>

#include "pipelines/component.h"
#include "pipelines/conditioning.h"
#include "pipelines/model_files.h"
#include "pipelines/preview.h"
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
  /// Throws invalid_argument, naming the options, for a UNet that takes a picture beside the noise.
  void require_text_alone() const;
  /// Whether the network was distilled with guidance: the scale is an input, and no negative branch runs.
  bool takes_guidance_scale() const { return files.unet.time_cond_proj_dim > 0; }

  /// A request with its defaults filled in.
  struct Job {
    TextToImageRequest request;
    int64_t latent_height = 0, latent_width = 0;
    bool guided = false;
    int batch_size = 1;
    pipelines::PromptPlan prompt, negative;
    int64_t tokens = 0;  ///< of the conditioning, all chunks
  };
  /// Throws invalid_argument naming the option.
  Job resolve(const TextToImageRequest& request) const;
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
  std::unique_ptr<pipelines::PromptEncoder> text_encoder;
  std::unique_ptr<pipelines::Component> unet, vae_decoder;
  std::unique_ptr<pipelines::Previewer> previewer;  ///< where previews are wanted
  pipelines::Residency residency;                   ///< of the request that runs
  Info info;
  std::mutex mutex;
};

namespace pipelines {

/// −1 … 1 → 0 … 255, clamped, rounded to nearest even. decoded: [n, 3, H, W]; picture `index` of it.
Picture to_picture(const Tensor& decoded, int64_t index);

}  // namespace pipelines

}  // namespace easel
