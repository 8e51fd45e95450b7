// Networks with known answers, for tests of samplers.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "sampling/random.h"
#include "sampling/sampler.h"

namespace easel::sampling {

class GeneratorNoise final : public NoiseSource {
 public:
  explicit GeneratorNoise(uint64_t seed) : seed_(seed), generator_(seed) {}
  void randn(std::span<float> out) override { generator_.randn(out); }
  std::vector<uint64_t> brownian_seeds() const override { return {seed_}; }

 private:
  uint64_t seed_;
  TorchGenerator generator_;
};

/// An ideal epsilon-predicting network for data that is normal with mean m and deviation s, of the schedule that the
/// test knows: D(x, σ) = (s²·x + σ²·m)/(s² + σ²), so that the flow of the ODE is x(σ') = m + (x(σ) − m)·√((s² + σ'²)/
/// (s² + σ²)). Item j has mean 0.5·sin(j). σ follows from the timestep by `sigma_of`.
class NormalData final : public Model {
 public:
  NormalData(double deviation, std::function<double(double)> sigma_of)
      : deviation_(deviation), sigma_of_(std::move(sigma_of)) {}

  static double mean(size_t j) { return 0.5 * std::sin(static_cast<double>(j)); }
  double clean(double x, double sigma, size_t j) const {
    const double s2 = deviation_ * deviation_, v = sigma * sigma;
    return (s2 * x + v * mean(j)) / (s2 + v);
  }
  /// The sample at `to` of the trajectory through x at `from`.
  double solution(double x, double from, double to, size_t j) const {
    const double s2 = deviation_ * deviation_;
    return mean(j) + (x - mean(j)) * std::sqrt((s2 + to * to) / (s2 + from * from));
  }

  void predict(const ModelCall& call) override {
    const double sigma = sigma_of_(call.timestep), scale = std::sqrt(1 + sigma * sigma);
    timesteps.push_back(call.timestep);
    for (size_t j = 0; j < call.input.size(); ++j) {
      const double x = call.input[j] * scale;
      call.output[j] = static_cast<float>((x - clean(x, sigma, j)) / sigma);
      // another branch: a wider distribution
      if (!call.unconditional.empty())
        call.unconditional[j] = static_cast<float>((x - 0.5 * clean(x, sigma, j)) / sigma);
    }
  }

  std::vector<double> timesteps;

 private:
  double deviation_;
  std::function<double(double)> sigma_of_;
};

}  // namespace easel::sampling
