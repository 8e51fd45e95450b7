// One denoising run: from noise to a clean sample, by as many calls of the network as the sampler wants.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <easel/shape.h>

#include "sampling/kept_part.h"

namespace easel::sampling {

/// Where the noise of the steps comes from.
class NoiseSource {
 public:
  virtual ~NoiseSource() = default;
  /// Standard normals for all images of a prompt at once (torch draws the whole [N, ...] tensor with one generator).
  virtual void randn(std::span<float> out) = 0;
  /// Seeds of Brownian motions (samplers that ask for noise between two noise levels): one for all images together,
  /// or one per image.
  virtual std::vector<uint64_t> brownian_seeds() const { return {0}; }
  /// out := the standard normals that a generator newly seeded with `seed` begins with.
  virtual void seeded_randn(uint64_t seed, std::span<float> out) const;
};

/// One call of the network.
struct ModelCall {
  std::span<const float> input;  ///< [N, C, ...], already scaled as the network wants it
  double timestep;               ///< as passed to the network, in units of training steps
  int step;                      ///< the iteration of the schedule that the call belongs to
  std::span<float> output;       ///< the network's prediction with guidance, as many values as `input`
  /// The prediction of the unconditional branch; empty where it is not wanted (see Sampler::wants_unconditional).
  std::span<float> unconditional;
};

/// The network and its guidance, as a sampler sees them.
class Model {
 public:
  virtual ~Model() = default;
  virtual void predict(const ModelCall& call) = 0;
};

/// One line of a schedule: before iteration i the sample holds noise of standard deviation sigma per unit of the clean
/// sample. The last line, after the last iteration, has no timestep.
struct NoiseLevel {
  std::optional<double> timestep;
  double sigma;
};

/// Called after iteration i with the sample it leaves.
using StepObserver = std::function<void(int i, std::span<const float> sample)>;

struct SamplerOptions {
  int steps = 50;
  /// How much of the removed noise is drawn anew: 0 none … 1 as much as DDPM. None: 0 for DDIM, else as the sampler's
  /// source has it (1). Deterministic samplers ignore it.
  std::optional<double> eta;
  /// A name of sigma_schedule_names(); none and "default": as configured.
  std::optional<std::string> sigma_schedule;
  std::vector<double> sigmas;  ///< the noise levels themselves, decreasing; steps and sigma_schedule do not count
  double denoise = 1;          ///< below 1: the last part of a schedule of ⌊steps/denoise⌋ steps (ComfyUI)
  /// Image to image: below 1, only the last part of the schedule runs. diffusers' samplers leave out the first
  /// steps − ⌊steps·strength⌋ iterations; ComfyUI's take it for `denoise`.
  double strength = 1;
  /// Hand-over between two models: only the iterations whose timestep lies in this part of the trained ones, from the
  /// noisiest (0) to the cleanest (1): t ≥ T − end·T, and t < T − start·T, rounded. As diffusers' options of these
  /// names.
  std::optional<double> denoising_start, denoising_end;
  int start_step = 0;           ///< first iteration that runs
  std::optional<int> end_step;  ///< iterations from here on do not run; what noise is left stays
  double s_churn = 0;           ///< Karras et al. 2022, algorithm 2: noise added before a step …
  double s_tmin = 0;            ///< … while σ is at least this …
  double s_tmax = std::numeric_limits<double>::infinity();  ///< … and at most this
  double s_noise = 1;                                       ///< factor of all noise of the steps
  std::optional<double> rho;          ///< of the schedules karras (7) and polyexponential (1), by ComfyUI's rules
  double rtol = 0.05, atol = 0.0078;  ///< tolerances of dpm_adaptive, relative and absolute
};

/// A sampler over a schedule. It keeps nothing from one run to the next.
class Sampler {
 public:
  virtual ~Sampler() = default;

  /// Calls of the network in a run; 0 where only the run can tell (adaptive step sizes).
  virtual int model_calls() const = 0;
  /// Whether calls ask for the unconditional prediction too (CFG++: Chung et al. 2024).
  virtual bool wants_unconditional() const { return false; }
  /// Whether a run at full strength with a part to keep begins with the clean sample under its noise (ComfyUI), or
  /// with noise alone (diffusers).
  virtual bool always_starts_from_original() const { return false; }
  /// noise := the first sample, from unit-variance noise and a clean sample to begin with (empty: none).
  /// Throws shape_mismatch if their sizes differ.
  virtual void start(std::span<const float> original, std::span<float> noise) const = 0;
  /// sample, [N, C, ...] float32: from what start() made to the clean one. The observer may be empty; what the model
  /// throws ends the run. kept: the part of the sample that stays as it was; nullptr: none.
  /// Throws shape_mismatch if `shape` or the part are not the sample's.
  virtual void run(Model& model, std::span<float> sample, const Shape& shape, NoiseSource& noise,
                   const StepObserver& observer, const KeptPart* kept) = 0;
  void run(Model& model, std::span<float> sample, const Shape& shape, NoiseSource& noise,
           const StepObserver& observer) {
    run(model, sample, shape, noise, observer, nullptr);
  }
  /// The noise levels visited, one per iteration and a last one.
  virtual std::vector<NoiseLevel> levels() const = 0;
};

/// A sampler by name over the noise levels that a diffusers scheduler_config.json describes.
///
/// `name`: empty for the config's own _class_name, else an alias or class name. Samplers that diffusers has are what
/// X.from_config(config) makes there: the fields of `config` that the class knows carry over, keys listed in
/// _use_default_values do not count, fields left out have diffusers' defaults of the class. All others, those named
/// k_…, and those asked for a schedule that diffusers lacks work by the rules of ComfyUI (docs/SAMPLERS.md).
/// Throws invalid_argument for an unknown name (naming near ones), options out of range or that do not go together;
/// io for a field of the wrong type or out of range; unsupported for values nothing here can run.
std::unique_ptr<Sampler> make_sampler(const nlohmann::json& config, const std::string& name,
                                      const SamplerOptions& options);

/// Names that make_sampler accepts, the short ones: "ddpm", "ddim", …
std::vector<std::string> sampler_names();
/// Values that SamplerOptions::sigma_schedule accepts.
std::vector<std::string> sigma_schedule_names();

}  // namespace easel::sampling
