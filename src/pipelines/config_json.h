// The models' configuration structs → config.json, the inverse of configs.h.
#pragma once

#include <nlohmann/json.hpp>

#include "models/autoencoder_kl.h"
#include "models/clip_text.h"
#include "models/unet_2d_condition.h"

namespace easel::pipelines {

/// As diffusers and transformers save them: reading the result with configs.h gives the same configuration.
/// sample_size: the side of the model's own pictures, in latents.
nlohmann::ordered_json unet_2d_condition_json(const models::UNet2DConditionConfig& config, int64_t sample_size);
nlohmann::ordered_json autoencoder_kl_json(const models::AutoencoderKLConfig& config);
nlohmann::ordered_json clip_text_json(const models::ClipTextConfig& config);

}  // namespace easel::pipelines
