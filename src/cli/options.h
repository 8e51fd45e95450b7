// The options of `easel generate` and `easel inspect`, as given.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <easel/pipeline.h>

#include "cli/added_options.h"
#include "cli/arguments.h"
#include "cli/ip_adapter_options.h"
#include "cli/picture_options.h"
#include "cli/sampling_options.h"

namespace easel::cli {

/// Which model, and how it runs. What is not given stays empty.
struct ModelOptions {
  std::optional<std::string> model, model_dir, tokenizer, tokenizer_2;
  std::optional<std::string> unet, vae, text_encoder, text_encoder_2;  ///< files that replace a part
  std::optional<std::string> dtype, unet_dtype, vae_dtype, text_encoder_dtype;
  std::optional<std::string> device, prediction_type;
  std::optional<int64_t> threads, memory_limit;
  std::optional<std::string> vae_tiling;
  bool offload = false, expand_weights = false;
  std::vector<std::string> embeddings;  ///< --embedding, each time it is given
  std::vector<std::string> loras, lora_dirs;
  std::optional<std::string> lora_mode;

  void add_to(Arguments& arguments);
  /// Throws invalid_argument or unsupported, naming the option.
  LoadOptions load_options() const;
  /// The adapters of --lora. Throws invalid_argument or io.
  std::vector<Lora> adapters() const;
  LoraMode adapter_mode() const;
};

struct GenerateOptions {
  ModelOptions model;
  std::optional<std::string> prompt_word;  ///< the positional PROMPT
  std::optional<std::string> prompt, negative_prompt, prompt_file, prompt_style;
  std::optional<std::string> prompt_2, negative_prompt_2;  ///< what SDXL's second text encoder reads
  std::optional<int64_t> clip_skip;
  std::optional<int64_t> steps, width, height, num_images_per_prompt, batch_size;
  std::optional<std::string> sampler, scheduler;
  std::optional<double> guidance_scale, eta;
  SamplingArguments sampling;
  AddedArguments added;
  PictureArguments pictures;
  IpAdapterArguments ip_adapters;
  std::optional<uint64_t> seed;
  std::optional<std::string> initial_latents, noisy_latents, from_image, refiner;
  std::optional<double> refiner_start;
  std::optional<std::string> trace;
  std::optional<int64_t> preview_every;
  std::optional<std::string> preview_vae;
  std::optional<std::string> out_dir;
  bool save_latents = false, save_grid = false, resume = false, json = false, quiet = false;

  /// False if --help was asked for. Throws invalid_argument.
  bool parse(std::span<const std::string> args);
  /// Every option, for a test that compares them with the help.
  static std::vector<std::string> names();
  /// The help with all its pages, for the same test.
  static std::string all_help();
};

extern const char* const kGenerateHelp;

/// The prompts of a file: UTF-8, one per line; blank lines and lines that begin with # do not count.
/// Throws io, or invalid_argument for invalid UTF-8, naming the line.
std::vector<std::string> read_prompt_file(const std::string& path);

/// Throws invalid_argument, naming the option, if the text is not UTF-8.
void check_utf8(const std::string& option, const std::string& text);

}  // namespace easel::cli
