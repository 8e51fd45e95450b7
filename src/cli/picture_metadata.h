// What a picture's PNG file says about how it was made, written and read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/added_options.h"
#include "cli/ip_adapter_options.h"
#include "cli/picture_options.h"
#include "cli/sampling_options.h"
#include "io/png.h"

namespace easel::cli {

/// Everything a picture depends on. Fields that a foreign picture does not tell are empty.
struct PictureMetadata {
  std::optional<std::string> prompt, negative_prompt;
  std::optional<std::string> prompt_2, negative_prompt_2;    ///< where they are given
  std::optional<std::string> prompt_style;                   ///< where it is not plain
  std::optional<int64_t> clip_skip;                          ///< where it is given
  std::optional<std::vector<std::string>> embeddings;        ///< paths given with --embedding
  std::optional<std::vector<std::string>> loras, lora_dirs;  ///< given with --lora and --lora-dir
  std::optional<std::string> lora_mode;                      ///< where it is not merge
  std::optional<std::string> lora_hashes;                    ///< of all adapters, also those of the prompt
  std::optional<int64_t> steps, width, height, num_images_per_prompt;
  std::optional<int64_t> index;                   ///< of this picture among those of its prompt
  std::optional<std::string> sampler, scheduler;  ///< "": the model's own
  std::optional<std::string> scheduler_class;     ///< the class behind the model's own scheduler; for readers
  std::optional<double> guidance_scale, eta;
  SamplingArguments sampling;
  AddedArguments added;
  PictureArguments pictures;                                  ///< of runs that began from a picture
  std::optional<std::string> init_image_sha256, mask_sha256;  ///< of these files
  IpAdapterArguments ip_adapters;                             ///< as portable() has them
  std::optional<uint64_t> seed;
  std::optional<std::string> unet_dtype, vae_dtype, text_encoder_dtype;
  std::optional<std::string> model;                   ///< short name
  std::optional<std::string> model_path;              ///< where it was, "~" standing for the home folder
  std::optional<std::string> tokenizer, tokenizer_2;  ///< paths given with --tokenizer, --tokenizer-2
  std::optional<std::string> unet_file, vae_file, text_encoder_file, text_encoder_2_file;  ///< given with --unet …
  std::optional<std::string> prediction_type;  ///< given with --prediction-type
  std::optional<std::string> refiner;          ///< path of the model that took over …
  std::optional<double> refiner_start;         ///< … and when
  std::optional<std::string> noisy_latents;    ///< content_hash() of the latents that the run went on from
  std::optional<std::string> initial_latents;  ///< content_hash() of the file's tensor, if the noise came from one
};

/// The chunks `parameters`, in the form of the A1111 web UI, and `easel`, JSON.
io::PngText to_png_text(const PictureMetadata& metadata);

/// From the chunk `easel`, else from `parameters`. Throws io, naming `where`, if there is neither or a field is wrong.
PictureMetadata from_png_text(const io::PngText& text, const std::string& where);

/// The form of the A1111 web UI: prompt, "Negative prompt: …", "Steps: 20, Sampler: Euler a, …". A text that easel did
/// not write is in the style a1111.
std::string to_a1111(const PictureMetadata& metadata);
PictureMetadata from_a1111(const std::string& text, const std::string& where);

}  // namespace easel::cli
