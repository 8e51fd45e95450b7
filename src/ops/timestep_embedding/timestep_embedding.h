#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Sinusoidal embedding of timesteps (units of training steps, 0 … 1000):
/// ω_i = exp(−ln(max_period) · i / (dim/2 − downscale_freq_shift)), i < dim/2; y = [sin(scale·t·ω), cos(scale·t·ω)],
/// or cosines first with flip_sin_to_cos; an odd dim ends in a zero. t: [N] f32 → [N, dim] f32.
/// Throws shape_mismatch. Ho et al. 2020, as in diffusers' get_timestep_embedding.
struct TimestepEmbeddingAttrs {
  int dim = 320;
  bool flip_sin_to_cos = true;
  double downscale_freq_shift = 0.0;
  double scale = 1.0;
  double max_period = 10000.0;
  bool operator==(const TimestepEmbeddingAttrs&) const = default;
};

ValueType infer(const TimestepEmbeddingAttrs& attrs, Inputs inputs);
std::string to_string(const TimestepEmbeddingAttrs& attrs);

}  // namespace easel::ops
