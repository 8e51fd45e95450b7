#include "sampling/noise.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/fail.h"
#include "sampling/names.h"
#include "sampling/philox.h"
#include "sampling/random.h"

namespace easel::sampling {

namespace {

bool per_image(RandomSource source) { return source == RandomSource::a1111 || source == RandomSource::a1111_cpu; }

// One generator for all images together.
template <typename Generator>
class SharedNoise final : public RunNoise {
 public:
  SharedNoise(const NoiseOptions& options, const Shape& shape, std::optional<uint64_t> step_seed)
      : options_(options), shape_(shape), seed_(options.seed), generator_(options.seed) {
    if (step_seed) steps_.emplace(*step_seed);
  }
  void first(std::span<float> out) override {
    if (options_.variation_strength == 0) return generator_.randn(out);
    const auto images = static_cast<size_t>(shape_[0]), size = out.size() / images;
    const Shape item = {shape_[1], shape_[2], shape_[3]};
    generator_.randn(out.first(size));
    for (size_t i = 1; i < images; ++i) std::copy_n(out.begin(), size, out.begin() + static_cast<ptrdiff_t>(i * size));
    std::vector<float> other(size);
    for (size_t i = 0; i < images; ++i) {
      Generator(options_.variation_seed + i).randn(other);
      slerp(options_.variation_strength, out.subspan(i * size, size), other, item);
    }
  }
  void posterior(std::span<float> out) override {
    if (steps_)
      std::fill(out.begin(), out.end(), 0.0f);
    else
      generator_.randn(out);
  }
  void randn(std::span<float> out) override { (steps_ ? *steps_ : generator_).randn(out); }
  std::vector<uint64_t> brownian_seeds() const override { return {seed_}; }
  void seeded_randn(uint64_t seed, std::span<float> out) const override { Generator(seed).randn(out); }

 private:
  NoiseOptions options_;
  Shape shape_;
  uint64_t seed_;
  Generator generator_;
  std::optional<Generator> steps_;
};

template <typename Generator>
class ImageNoise final : public RunNoise {
 public:
  ImageNoise(const NoiseOptions& options, const Shape& shape) : options_(options), shape_(shape) {
    for (int i = 0; i < static_cast<int>(shape[0]); ++i) {
      seeds_.push_back(image_seed(options, i));
      generators_.emplace_back(seeds_.back());
    }
    if (options.eta_noise_seed_delta != 0)
      for (const uint64_t seed : seeds_) steps_.emplace_back(seed + options.eta_noise_seed_delta);
  }

  void first(std::span<float> out) override {
    draw(generators_, out);
    if (options_.variation_strength == 0) return;
    const size_t size = out.size() / seeds_.size();
    const Shape item = {shape_[1], shape_[2], shape_[3]};
    std::vector<float> other(size);
    for (size_t i = 0; i < seeds_.size(); ++i) {
      Generator(options_.variation_seed + i).randn(other);
      slerp(options_.variation_strength, out.subspan(i * size, size), other, item);
    }
  }
  void posterior(std::span<float> out) override { std::fill(out.begin(), out.end(), 0.0f); }
  void randn(std::span<float> out) override { draw(steps_.empty() ? generators_ : steps_, out); }
  std::vector<uint64_t> brownian_seeds() const override { return seeds_; }
  void seeded_randn(uint64_t seed, std::span<float> out) const override { Generator(seed).randn(out); }

 private:
  static void draw(std::vector<Generator>& generators, std::span<float> out) {
    const size_t size = out.size() / generators.size();
    for (size_t i = 0; i < generators.size(); ++i) generators[i].randn(out.subspan(i * size, size));
  }

  NoiseOptions options_;
  Shape shape_;
  std::vector<uint64_t> seeds_;
  std::vector<Generator> generators_, steps_;
};

}  // namespace

void NoiseSource::seeded_randn(uint64_t seed, std::span<float> out) const { TorchGenerator(seed).randn(out); }

RandomSource parse_random_source(const std::string& name) {
  const std::vector<std::string> names = {"torch", "comfy", "cuda", "a1111", "a1111_cpu"};  // in the enum's order
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    fail(ErrorCode::invalid_argument, "--rng: unknown source of random numbers \"{}\"{}", printable(name, 40),
         near_names(normalized(name), names));
  return static_cast<RandomSource>(found - names.begin());
}

void check_noise(const NoiseOptions& options) {
  if (!(options.variation_strength >= 0 && options.variation_strength <= 1))
    fail(ErrorCode::invalid_argument, "--variation-strength: expected 0 to 1, found {}", options.variation_strength);
  if (per_image(options.source)) return;
  if (options.eta_noise_seed_delta != 0)
    fail(ErrorCode::invalid_argument, "--eta-noise-seed-delta {}: expected with --rng a1111, found another --rng",
         options.eta_noise_seed_delta);
}

uint64_t image_seed(const NoiseOptions& options, int image) {
  const bool counts = per_image(options.source) && options.variation_strength == 0;
  return options.seed + (counts ? static_cast<uint64_t>(image) : 0);
}

std::unique_ptr<RunNoise> make_noise(const NoiseOptions& options, const Shape& shape) {
  switch (options.source) {
    case RandomSource::torch: return std::make_unique<SharedNoise<TorchGenerator>>(options, shape, std::nullopt);
    case RandomSource::comfy: return std::make_unique<SharedNoise<TorchGenerator>>(options, shape, options.seed + 1);
    case RandomSource::cuda: return std::make_unique<SharedNoise<PhiloxGenerator>>(options, shape, std::nullopt);
    case RandomSource::a1111: return std::make_unique<ImageNoise<PhiloxGenerator>>(options, shape);
    case RandomSource::a1111_cpu: return std::make_unique<ImageNoise<TorchGenerator>>(options, shape);
  }
  return nullptr;
}

void slerp(double t, std::span<float> a, std::span<const float> b, const Shape& shape) {
  const auto channels = static_cast<size_t>(shape[0]), height = static_cast<size_t>(shape[1]),
             width = static_cast<size_t>(shape[2]);
  const size_t plane = height * width;
  if (plane == 0) return;
  std::vector<double> cosines(channels * width);
  double mean = 0;
  for (size_t c = 0; c < channels; ++c)
    for (size_t x = 0; x < width; ++x) {
      double aa = 0, bb = 0, ab = 0;
      for (size_t y = 0; y < height; ++y) {
        const size_t at = (c * height + y) * width + x;
        aa += double{a[at]} * a[at];
        bb += double{b[at]} * b[at];
        ab += double{a[at]} * b[at];
      }
      cosines[c * width + x] = std::clamp(ab / std::sqrt(std::max(aa * bb, 1e-60)), -1.0, 1.0);
      mean += cosines[c * width + x] / static_cast<double>(cosines.size());
    }
  const bool parallel = mean > 0.9995;
  for (size_t j = 0; j < a.size(); ++j) {
    const double omega = std::acos(cosines[j / plane * width + j % width]), sine = std::sin(omega);
    const double wa = parallel ? t : std::sin((1 - t) * omega) / sine;
    const double wb = parallel ? 1 - t : std::sin(t * omega) / sine;
    a[j] = static_cast<float>(wa * a[j] + wb * b[j]);
  }
}

}  // namespace easel::sampling
