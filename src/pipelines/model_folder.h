// The files of a diffusers folder beside the weights.
#pragma once

#include <string>

#include "pipelines/model_tensors.h"

namespace easel::pipelines {

/// Copies configurations and tokenizer files (.json and .txt, but no lists of shards) of one folder. Throws io.
void copy_descriptions(const std::string& from, const std::string& to);

/// model_index.json, the configurations of the components, scheduler and tokenizers of a whole Stable Diffusion model
/// in the folder `to`, with a subfolder for each: copied where the model is a folder, else written from what is known.
/// tokenizer: a folder to copy from; needed where the model has none and none lies beside it, and serves both of SDXL's
/// encoders. Throws io, invalid_argument naming --tokenizer.
void write_descriptions(const ModelTensors& model, const std::string& tokenizer, const std::string& to);

}  // namespace easel::pipelines
