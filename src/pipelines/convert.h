// From model files to other model files: names, precision, containers, shards; merges of checkpoints.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <easel/lora.h>

#include "pipelines/model_files.h"
#include "pipelines/tensor_recipe.h"

namespace easel::pipelines {

enum class Names { keep, original, diffusers };

struct ConvertOptions {
  std::vector<std::string> inputs;  ///< 1 to 3: files, diffusers folders, or an index of shards
  /// "….safetensors", "….gguf", or a new folder for the diffusers layout.
  std::string output;
  std::optional<Encoding> encoding;  ///< nothing: as stored (packed rows become f32 outside of GGUF)
  Names names = Names::keep;         ///< keep: a folder's names become original ones in a single file
  std::string component;             ///< "unet", "vae" or "text_encoder": that part alone; empty: everything
  std::string vae;                   ///< a VAE that replaces the model's own
  std::vector<Lora> loras;           ///< merged into the UNet and the text encoder
  std::function<void(const std::string&)> warn;  ///< of adapters; may be empty
  std::string tokenizer;                         ///< folder whose tokenizer goes into a diffusers folder
  /// One weight per input: Σ wᵢ·inputᵢ. Empty for a single input.
  std::vector<double> weights;
  uint64_t max_shard_bytes = 0;  ///< safetensors only; 0: one file
  bool check = false;            ///< read the result back
};

struct ConvertResult {
  std::vector<std::string> files;  ///< weight files that were written
  int64_t tensors = 0;
  uint64_t bytes = 0;
  std::vector<std::string> left_out;  ///< tensors of the first input that have no place in the new layout
  CheckReport check;
};

/// Writes the output, whole or not at all, in memory that does not grow with the files. Tensors of a model that several
/// inputs hold under different names are matched by what they are. Merging weighs model tensors; everything else comes
/// from the first input. Packed targets keep what packing would harm most as f16 (the VAE, embeddings, the first and
/// last convolutions, the time embedding) and what has one dimension as f32. Throws invalid_argument for options that
/// do not fit together, io or unsupported for inputs, io if the output exists as something else, cancelled.
ConvertResult convert(const ConvertOptions& options, const ByteProgress& progress, const CancelToken& cancel);

}  // namespace easel::pipelines
