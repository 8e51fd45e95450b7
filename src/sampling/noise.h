// The noise of a run, by the rules of the programs whose pictures are to be made again.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <easel/shape.h>

#include "sampling/sampler.h"

namespace easel::sampling {

/// Which generator, seeded how:
///
/// torch      one torch CPU generator of the seed for the first noise and that of the steps, one draw for all images
///            (diffusers)
/// comfy      the same for the first noise, a generator of seed + 1 for the steps (ComfyUI)
/// cuda       as torch, with torch's CUDA numbers (diffusers with a CUDA generator)
/// a1111      image i has a CUDA generator of seed + i for all its noise (the web UI on a GPU)
/// a1111_cpu  the same with torch's CPU numbers (its option "CPU")
enum class RandomSource { torch, comfy, cuda, a1111, a1111_cpu };

/// The name → the value; throws invalid_argument, naming --rng.
RandomSource parse_random_source(const std::string& name);

struct NoiseOptions {
  RandomSource source = RandomSource::torch;
  uint64_t seed = 0;
  /// a1111: the noise of the steps comes from seed + i + this ("ENSD"); 0: the generator of the first noise goes on.
  uint64_t eta_noise_seed_delta = 0;
  /// The first noise of picture i is that of the seed (of its first picture), turned towards that of the variation seed
  /// + i by this much, 0 to 1, as the web UI has it.
  double variation_strength = 0;
  uint64_t variation_seed = 0;
};

/// Throws invalid_argument for options out of range, or that the source does not have.
void check_noise(const NoiseOptions& options);

/// The seed of image i, as the program behind the source numbers it.
uint64_t image_seed(const NoiseOptions& options, int image);

class RunNoise : public NoiseSource {
 public:
  /// out := the noise of the first sample, unit variance; to be called before randn(), if at all.
  virtual void first(std::span<float> out) = 0;
  /// out := what the posterior of a picture's encoding is drawn with, N(mean, deviation²): torch and cuda draw it from
  /// the generator where the call stands, as diffusers' pipelines; the others take the mean, so zeros.
  virtual void posterior(std::span<float> out) = 0;
};

/// shape: of the sample, [N, C, h, w].
std::unique_ptr<RunNoise> make_noise(const NoiseOptions& options, const Shape& shape);

/// What lies between two noises at a fraction of the way, along a great circle: (sin((1−t)ω)·a + sin(tω)·b) / sin ω,
/// with ω the angle of the columns a[c, :, x] and b[c, :, x] (Shoemake 1985; over these axes as the web UI has it).
/// Where they are almost parallel, the straight mix t·a + (1−t)·b. shape: [C, h, w]; a is overwritten.
void slerp(double t, std::span<float> a, std::span<const float> b, const Shape& shape);

}  // namespace easel::sampling
