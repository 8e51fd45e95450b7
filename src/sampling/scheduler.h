// A diffusers scheduler: the sampler whose step follows from one output of the network and what it remembers.
#pragma once

#include "sampling/sampler.h"

namespace easel::sampling {

/// A diffusers scheduler after set_timesteps(steps). Schedulers keep history: one object per prompt, stepped once per
/// iteration with all images of the prompt together. Latents are float32, computed in float32 as the reference does.
class Scheduler : public Sampler {
 public:
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
  /// Runs only the iterations first … last − 1. Throws invalid_argument if there are none of them.
  void set_iterations(int first, int last);

  int model_calls() const override { return last() - first_; }
  void start(std::span<const float> original, std::span<float> noise) const override;
  using Sampler::run;
  void run(Model& model, std::span<float> sample, const Shape& shape, NoiseSource& noise, const StepObserver& observer,
           const KeptPart* kept) override;
  std::vector<NoiseLevel> levels() const override;

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
  // The kept part as it stands before iteration i.
  void restore(const KeptPart* kept, int i, std::span<float> sample) const;
  int last() const { return last_ < 0 ? static_cast<int>(timesteps_.size()) : last_; }

  int first_ = 0, last_ = -1;  // the iterations that run() takes; −1: all
  int next_ = -1;              // the iteration to come; −1: any
  std::vector<float> mean_, variance_;
};

/// The scheduler of a diffusers scheduler_config.json, for the names and classes that are stepped by hand: as
/// make_sampler, but throws invalid_argument for samplers that call the network themselves.
std::unique_ptr<Scheduler> make_scheduler(const nlohmann::json& config, const std::string& name,
                                          const SamplerOptions& options);

}  // namespace easel::sampling
