// One denoising run: noise schedule, timesteps and the update from one iteration to the next.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <easel/shape.h>

namespace easel::sampling {

/// Where the noise of the steps comes from.
class NoiseSource {
 public:
  virtual ~NoiseSource() = default;
  /// Standard normals for all images of a prompt at once (torch draws the whole [N, ...] tensor with one generator).
  virtual void randn(std::span<float> out) = 0;
};

struct SamplerOptions {
  int steps = 50;
  double eta = 0;  ///< DDIM: 0 deterministic … 1 as noisy as DDPM; other samplers ignore it
  /// Overrides the configuration's spacing of sigmas: karras, exponential, beta, lu, normal (none of them), or of
  /// timesteps: linspace, leading, trailing. "default" and none: as configured.
  std::optional<std::string> sigma_schedule;
};

/// A diffusers scheduler after set_timesteps(steps). Samplers keep history: one object per prompt, stepped once per
/// iteration with all images of the prompt together. Latents are float32, computed in float32 as the reference does.
class Sampler {
 public:
  virtual ~Sampler() = default;

  /// One per model call, first to last, as passed to the network (units of training steps; PLMS has steps + 1).
  const std::vector<double>& timesteps() const { return timesteps_; }
  /// What unit-variance noise is multiplied by to make the first sample.
  double init_noise_sigma() const { return init_noise_sigma_; }
  /// The network's input for iteration i: sample / √(σ_i² + 1) for Euler samplers, the sample itself otherwise.
  /// `out` may be `sample`. Throws invalid_argument for a bad i, shape_mismatch for unequal sizes.
  void scale_model_input(int i, std::span<const float> sample, std::span<float> out) const;
  /// sample := the sample after iteration i. shape: of the sample, [N, C, ...]. model_output: of the same shape, or
  /// [N, 2C, ...] for networks that also predict the variance (variance_type learned, learned_range).
  /// Iterations are consecutive; the first call may start anywhere.
  /// Throws invalid_argument for i out of order, shape_mismatch for sizes that do not fit.
  void step(int i, std::span<const float> model_output, std::span<float> sample, const Shape& shape,
            NoiseSource& noise);
  /// out := the noised sample that iteration i starts from: √ᾱ·x + √(1−ᾱ)·noise, or x + σ·noise for Euler samplers.
  void add_noise(int i, std::span<const float> original, std::span<const float> noise, std::span<float> out) const;

 protected:
  struct StepInput {
    int i;
    std::span<const float> output;              // the network's mean prediction, as many as `sample`
    std::span<const float> predicted_variance;  // empty unless the network predicts it
    const Shape& shape;
    NoiseSource& noise;
  };
  virtual void update(const StepInput& in, std::span<float> sample) = 0;
  /// What the sample is divided by before the network.
  virtual float input_divisor(int i) const { return 1.0f; }
  /// Factors of the clean sample and of the noise in the sample that iteration i starts from.
  virtual std::pair<float, float> noise_mix(int i) const = 0;

  std::vector<double> timesteps_;
  double init_noise_sigma_ = 1.0;

 private:
  void check_iteration(int i) const;
  int next_ = -1;  // the iteration to come; −1: any
};

/// The scheduler of a diffusers scheduler_config.json. `name`: empty for the config's own _class_name, else an alias
/// or class name, and then the fields of `config` that this class knows carry over (X.from_config in diffusers; keys
/// listed in _use_default_values do not count). Fields left out have diffusers' defaults of the class.
/// Throws invalid_argument for an unknown name (naming near ones), options out of range or that do not go together;
/// io for a field of the wrong type or out of range; unsupported for values nothing here can run.
std::unique_ptr<Sampler> make_sampler(const nlohmann::json& config, const std::string& name,
                                      const SamplerOptions& options);

/// Names that make_sampler accepts, the short ones: "ddpm", "ddim", …
std::vector<std::string> sampler_names();
/// Values that SamplerOptions::sigma_schedule accepts.
std::vector<std::string> sigma_schedule_names();

}  // namespace easel::sampling
