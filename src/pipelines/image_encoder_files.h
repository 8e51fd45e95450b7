// CLIP's image encoders on disk.
#pragma once

#include <string>

#include "models/clip_vision.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

using ImageEncoderFiles = ComponentFiles<models::ClipVisionConfig>;

/// A folder with config.json and weights as transformers saves a CLIPVisionModelWithProjection (or a whole CLIPModel),
/// or a file of any container in transformers' or OpenCLIP's names. A config.json beside the file holds, where it is of
/// such a class; otherwise sizes are read off the tensors, and heads, activation and eps are those of the published
/// encoder of that width. Throws io, shape_mismatch or unsupported, beginning with `where`.
ImageEncoderFiles read_image_encoder(const std::string& path, const std::string& where);

/// Names of OpenCLIP's image tower ("visual.transformer.resblocks.0…") for ours.
NameCandidates open_clip_vision_names(const std::string& prefix);

}  // namespace easel::pipelines
