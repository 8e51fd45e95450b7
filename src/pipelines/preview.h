// Pictures of latents that are not done yet: by a TAESD, or by a linear map.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <easel/pipeline.h>

#include "pipelines/component.h"
#include "pipelines/model_files.h"
#include "sampling/model_sampling.h"
#include "sampling/sampler.h"

namespace easel::pipelines {

class Previewer {
 public:
  /// Throws invalid_argument, io or unsupported.
  Previewer(PreviewSink sink, const PreviewOptions& options, const ModelFiles& files, device::ContextPtr context,
            DType precision, std::shared_ptr<exec::Arena> arena);

  /// Before a run. Finds the linear map, where there is none yet, from what the VAE makes of patches of one latent
  /// each: colour = A·latent + b by least squares over 192 patches, which takes a picture of 256 × 256 pixels thrice.
  /// Returns whether the VAE was used.
  bool prepare(Component& vae_decoder);
  /// What the network was given and what it said: the clean sample that follows from it is kept.
  void saw(const sampling::ModelCall& call);
  /// After `step` iterations, with the shape of all latents: a preview, where one is due.
  void show(int step, const Shape& shape);
  /// Bytes besides those of a run whose working memory is `arena_bytes`.
  int64_t bytes(int64_t height, int64_t width, int64_t arena_bytes);

 private:
  Picture by_map(const float* latents, int64_t height, int64_t width) const;
  Picture by_decoder(const float* latents, int64_t height, int64_t width);

  PreviewSink sink_;
  int every_;
  int64_t channels_;
  double scaling_factor_, shift_factor_;            // of the model's own latents
  double decoder_scaling_ = 1, decoder_shift_ = 0;  // of the TAESD's
  sampling::ModelSampling sampling_;
  std::unique_ptr<Component> decoder_;
  std::vector<float> map_;  // [3][channels + 1], the last column being b; empty until it is found
  std::vector<float> clean_;
};

}  // namespace easel::pipelines
