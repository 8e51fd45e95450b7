// What `easel generate` was asked for, from its options and from the picture of --from-image.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <easel/pipeline.h>

#include "cli/model_lookup.h"
#include "cli/options.h"
#include "cli/picture_metadata.h"

namespace easel::cli {

struct Job {
  ModelPath model;
  LoadOptions load;
  std::vector<TextToImageRequest> requests;  ///< one per prompt
  std::optional<int> only_index;             ///< of the pictures of the prompt, only this one is wanted
  AddedArguments added;                      ///< of the options and the picture
  SamplingArguments sampling;                ///< of the options and the picture
  PictureArguments pictures;                 ///< likewise
  IpAdapterArguments ip_adapters;            ///< likewise, in the form of a picture's text
  std::vector<InputFiles> inputs;            ///< of each request
  std::string latents_hash;                  ///< of --initial-latents, else ""
  std::string noisy_latents_hash;            ///< of --noisy-latents, else ""
  std::optional<ModelPath> refiner;          ///< takes over …
  double refiner_start = 0.8;                ///< … after this share of the trained timesteps
  bool random_seed = false;
};

/// Reads the files that the options name, but not the model. `warn` gets one line per warning.
/// Throws invalid_argument, io or unsupported.
Job plan_job(const GenerateOptions& options, const std::function<void(const std::string&)>& warn);

/// Once the model is known: what the picture of --from-image says that concerns SDXL alone is left out, with a warning,
/// where another model was named. What options say stays, to be refused.
void leave_out_of_picture(Job& job, const GenerateOptions& options, const TextToImagePipeline::Info& info,
                          const std::function<void(const std::string&)>& warn);

/// How one picture of request `number` was made, for its file. lora_hashes: of all adapters that acted, see LoraHashes.
PictureMetadata describe_picture(const Job& job, size_t number, const Picture& picture,
                                 const TextToImagePipeline::Info& info, const std::string& lora_hashes);

/// A fingerprint of shape and values, "1x4x64x64-…" (64-bit FNV-1a over the float32 values).
std::string content_hash(const Tensor& values);

}  // namespace easel::cli
