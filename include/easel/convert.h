// Model files to other model files: names, precision, containers, shards; merges of checkpoints.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <easel/cancel.h>
#include <easel/lora.h>

namespace easel {

/// keep: as the first input has them; a folder's become original ones in a single file.
/// original: those of the first checkpoints ("model.diffusion_model.…"); diffusers: those of its folders.
enum class TensorNames { keep, original, diffusers };

struct ConvertOptions {
  /// 1 to 3: files of any container, diffusers folders, or an index of shards.
  std::vector<std::string> inputs{};
  /// "….safetensors", "….gguf", or a new folder for the diffusers layout.
  std::string output{};
  /// fp32, fp16, bf16, f8_e4m3 or f8_e5m2; for GGUF also q8_0, q6_k, q5_k, q5_1, q5_0, q4_k, q4_1, q4_0, iq4_nl,
  /// iq4_xs, q3_k and q2_k. Empty: as stored (packed rows become fp32 outside of GGUF, fp8 with scales fp16).
  std::string dtype{};
  TensorNames names = TensorNames::keep;
  std::string component{};    ///< "unet", "vae", "text_encoder", "text_encoder_2": that part alone; empty: everything
  std::string vae{};          ///< a VAE that replaces the first input's own
  std::vector<Lora> loras{};  ///< merged into the UNet and the text encoders
  std::function<void(const std::string&)> warn{};  ///< one line per warning, of adapters; empty: none
  std::string tokenizer{};                         ///< folder whose tokenizer goes into a diffusers folder
  /// One per input: Σ wᵢ·inputᵢ, in f32 in this order. A + x·(B − C) is {1, x, −x}. Empty for a single input.
  std::vector<double> weights{};
  uint64_t max_shard_bytes = 0;  ///< safetensors only; 0: one file
  bool check = false;            ///< read the result back and compare every byte and every value with its source
  std::function<void(uint64_t done, uint64_t all)> progress{};  ///< bytes written so far, and in all
  CancelToken cancel{};
};

/// What reading a written file back showed.
struct CheckReport {
  int64_t tensors = 0, exact = 0;  ///< exact: every value equals the source's
  /// By encoding, the largest relative error ‖stored − source‖ / ‖source‖ of a tensor, and whose it is.
  std::map<std::string, std::pair<double, std::string>> worst;
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
/// from the first input. Packed targets keep what packing would harm most as fp16 (the VAE, embeddings, the first and
/// last convolutions, the time embedding) and what has one dimension as fp32. Throws invalid_argument for options that
/// do not fit together and values that the new type cannot hold, io or unsupported for inputs, io if the output exists
/// as something else, cancelled.
ConvertResult convert(const ConvertOptions& options);

}  // namespace easel
