// What a request says to the rooms that serve it.
#pragma once

#include <easel/pipeline.h>

#include "sampling/noise.h"
#include "sampling/sampler.h"

namespace easel::pipelines {

sampling::SamplerOptions sampler_options_of(const TextToImageRequest& request);
/// Throws invalid_argument for an unknown --rng.
sampling::NoiseOptions noise_options_of(const TextToImageRequest& request);

}  // namespace easel::pipelines
