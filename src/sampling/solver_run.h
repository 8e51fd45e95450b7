// What a solver of the k-diffusion family works with: samples x = α·x0 + σ·noise, and a network that gives the clean
// sample for any x and σ.
#pragma once

#include <algorithm>
#include <deque>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "sampling/brownian.h"
#include "sampling/model_sampling.h"
#include "sampling/sampler.h"

namespace easel::sampling {

/// A weighted vector of a sum.
struct Term {
  double weight;
  std::span<const float> values;
};
/// out := Σ weight·values, element by element in float32, in the order of the terms; `out` may be one of them.
void mix(std::span<float> out, std::initializer_list<Term> terms);
/// The same with the terms in a list.
void mix(std::span<float> out, std::span<const Term> terms);

/// Euler–Maruyama split of a step from σ to σ': deterministic down to `down`, then fresh noise of deviation `up`.
/// up² = η²·σ'²·(σ² − σ'²)/σ², at most σ'²; down² = σ'² − up² (Song et al. 2020, eq. 16, in σ).
struct AncestralStep {
  double down, up;
};
AncestralStep ancestral_step(double from, double to, double eta);

enum class SolverNoise { none, gaussian, brownian };

/// One run of a solver. Vectors are allocated when first asked for, none once the steps have begun.
class SolverRun {
 public:
  struct Setup {
    const ModelSampling& network;
    const std::vector<double>& sigmas;     // steps + 1, decreasing
    const std::vector<double>& timesteps;  // of the sigmas, where the schedule says which; else empty
    const SamplerOptions& options;
    SolverNoise noise;
    bool unconditional;  // the solver reads unconditional()
    double eta;
    const KeptPart* kept = nullptr;   // what the run leaves as it was
    bool kept_at_first_call = false;  // restored before the first call, too
    bool kept_after_steps = true;     // restored in the sample, too, not only in what the network sees
  };
  SolverRun(const Setup& setup, Model& model, std::span<float> sample, const Shape& shape, NoiseSource& noise,
            const StepObserver& observer);

  std::span<float> sample() { return sample_; }
  size_t size() const { return sample_.size(); }
  int steps() const { return static_cast<int>(setup_.sigmas.size()) - 1; }
  double sigma(int i) const { return setup_.sigmas[static_cast<size_t>(i)]; }
  const SamplerOptions& options() const { return setup_.options; }
  double eta() const { return setup_.eta; }
  const ModelSampling& network() const { return setup_.network; }
  double alpha(double sigma) const { return setup_.network.alpha(sigma); }
  /// Half of the logarithm of the signal-to-noise ratio, ln(α/σ).
  double lambda(double sigma) const;
  /// σ of that.
  double sigma_of(double lambda) const;

  /// A vector of the sample's size, zero, the run's to the end.
  std::span<float> vector();
  /// denoised := the network's clean sample for x at σ, with guidance. `denoised` must not be x.
  void denoise(std::span<const float> x, double sigma, std::span<float> denoised);
  /// What the unconditional branch of the last denoise() makes of it.
  std::span<const float> unconditional() const { return unconditional_; }
  /// Standard normals for a step between two noise levels, times s_noise; valid until the next call.
  std::span<const float> noise(double from, double to);
  /// Raises the noise of the sample before step i as s_churn says, and gives the level it then has (Karras et al. 2022,
  /// algorithm 2).
  double churn(int i);
  /// Puts the kept part into x as it stands at σ.
  void restore(double sigma, std::span<float> x) const;
  /// Step i is done and sample() holds its result.
  void done(int i);

 private:
  Setup setup_;
  Model& model_;
  std::span<float> sample_;
  size_t images_;
  NoiseSource& noise_source_;
  const StepObserver& observer_;
  int step_;
  std::deque<std::vector<float>> vectors_;
  void restore_clean(double sigma, std::span<float> x) const;
  double progress_at(double sigma) const;  // t/t₀

  std::vector<float> input_, unconditional_, noise_, restored_;
  bool called_ = false;
  std::vector<BrownianTree> trees_;
};

/// The last few vectors of a multistep solver: the clean samples or derivatives of the steps behind.
class History {
 public:
  History(SolverRun& run, size_t length) {
    for (size_t k = 0; k < length; ++k) vectors_.push_back(run.vector());
  }
  /// The vector to fill with the newest, in place of the oldest.
  std::span<float> push() {
    newest_ = (newest_ + vectors_.size() - 1) % vectors_.size();
    count_ = std::min(count_ + 1, vectors_.size());
    return vectors_[newest_];
  }
  /// How many there are.
  size_t count() const { return count_; }
  /// 0: the newest.
  std::span<const float> operator[](size_t age) const { return vectors_[(newest_ + age) % vectors_.size()]; }

 private:
  std::vector<std::span<float>> vectors_;
  size_t newest_ = 0, count_ = 0;
};

}  // namespace easel::sampling
