// config.json → the models' plain configuration structs.
#pragma once

#include "io/json_file.h"
#include "models/autoencoder_kl.h"
#include "models/autoencoder_tiny.h"
#include "models/clip_text.h"
#include "models/clip_vision.h"
#include "models/unet_2d_condition.h"

namespace easel::pipelines {

/// Fields left out have diffusers' or transformers' defaults of the class. All throw io for a missing, mistyped
/// or out-of-range value and for another _class_name, unsupported for a value that no code here runs; each message
/// names file and key.
models::UNet2DConditionConfig unet_2d_condition_config(const io::JsonObject& json);
models::AutoencoderKLConfig autoencoder_kl_config(const io::JsonObject& json);
models::AutoencoderTinyConfig autoencoder_tiny_config(const io::JsonObject& json);
models::ClipTextConfig clip_text_config(const io::JsonObject& json);
/// Also of a whole CLIPModel, whose image encoder is its vision_config.
models::ClipVisionConfig clip_vision_config(const io::JsonObject& json);

}  // namespace easel::pipelines
