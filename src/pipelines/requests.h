// What a request says to the rooms that serve it.
#pragma once

#include <easel/pipeline.h>

#include <easel/dtype.h>
#include "device/cpu/features.h"
#include "sampling/noise.h"
#include "sampling/sampler.h"

namespace easel::pipelines {

/// The strength that a request's picture has: its own, else what PictureInputs says; 1 without a picture.
double strength_of(const TextToImageRequest& request);
sampling::SamplerOptions sampler_options_of(const TextToImageRequest& request);
/// Throws invalid_argument for an unknown --rng.
sampling::NoiseOptions noise_options_of(const TextToImageRequest& request);

/// The dtype of dense layers for a precision; automatic becomes what it stands for on this processor.
DType chosen_dtype(Precision& precision, device::Isa isa);

/// The request as if its middle prompt were the negative one: a text that AND does not divide.
TextToImageRequest request_of_middle_prompt(const TextToImageRequest& request);

}  // namespace easel::pipelines
