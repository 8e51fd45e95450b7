// The inside of TextToImagePipeline.
#pragma once

#include <map>
#include <mutex>

#include <easel/pipeline.h>

#include "pipelines/component.h"
#include "pipelines/model_files.h"
#include "sampling/sampler.h"
#include "text/clip_tokenizer.h"

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
  };
  /// Throws invalid_argument naming the option.
  Job resolve(const TextToImageRequest& request) const;
  /// Throws out_of_memory before anything is planned or packed.
  void check_memory(const Job& job);

  std::unique_ptr<sampling::Sampler> sampler_for(const TextToImageRequest& request) const;

  TextToImageResult generate(const Job& job, const std::function<void(const StepProgress&)>& progress,
                             const TraceSink& trace);
  /// Length of an encoded prompt, with start, end and padding.
  int64_t prompt_tokens() const;
  void encode(const std::vector<std::string>& prompts);
  /// [1, S, D], from the cache.
  Tensor embedding(const std::string& prompt);
  Tensor initial_latents(const Job& job, sampling::NoiseSource& noise) const;

  /// One batch of pictures through the UNet for all steps, with guidance.
  struct Denoiser;
  /// Latents of one batch → decoded [n, 3, H, W], −1 … 1.
  Tensor decode(const Job& job, const Tensor& latents);

  Bindings unet_sizes(const Job& job, int pictures) const;
  Bindings vae_sizes(const Job& job, int pictures) const;

  LoadOptions options;
  pipelines::ModelFiles files;
  device::ContextPtr context;
  text::ClipTokenizer tokenizer;
  std::shared_ptr<exec::Arena> arena = std::make_shared<exec::Arena>();
  std::unique_ptr<pipelines::Component> text_encoder, unet, vae_decoder;
  std::map<std::string, Tensor> embeddings;
  Info info;
  std::mutex mutex;
};

namespace pipelines {

/// −1 … 1 → 0 … 255, clamped, rounded to nearest even. decoded: [n, 3, H, W]; picture `index` of it.
Picture to_picture(const Tensor& decoded, int64_t index);

}  // namespace pipelines

}  // namespace easel
