#include "sampling/solver_run.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/fail.h"

namespace easel::sampling {

void mix(std::span<float> out, std::span<const Term> terms) {
  // In pieces that stay in the fastest cache, so that `out` is written once and may be read before.
  constexpr size_t kPiece = 512;
  std::array<float, kPiece> sum;
  for (size_t begin = 0; begin < out.size(); begin += kPiece) {
    const size_t count = std::min(kPiece, out.size() - begin);
    std::fill_n(sum.begin(), count, 0.0f);
    for (const Term& term : terms) {
      const auto weight = static_cast<float>(term.weight);
      const float* values = term.values.data() + begin;
      for (size_t j = 0; j < count; ++j) sum[j] += weight * values[j];
    }
    std::copy_n(sum.begin(), count, out.begin() + static_cast<ptrdiff_t>(begin));
  }
}

void mix(std::span<float> out, std::initializer_list<Term> terms) {
  mix(out, std::span<const Term>(terms.begin(), terms.size()));
}

AncestralStep ancestral_step(double from, double to, double eta) {
  if (eta == 0) return {to, 0};
  const double up = std::min(to, eta * std::sqrt(std::max(0.0, to * to * (from * from - to * to) / (from * from))));
  return {std::sqrt(std::max(0.0, to * to - up * up)), up};
}

SolverRun::SolverRun(const Setup& setup, Model& model, std::span<float> sample, const Shape& shape, NoiseSource& noise,
                     const StepObserver& observer)
    : setup_(setup),
      model_(model),
      sample_(sample),
      images_(shape.rank() > 0 ? static_cast<size_t>(shape[0]) : 0),
      noise_source_(noise),
      observer_(observer),
      step_(setup.options.start_step) {
  if (shape.rank() < 2 || static_cast<size_t>(shape.numel()) != sample.size() || sample.empty())
    fail(ErrorCode::shape_mismatch, "sampler: sample: expected [N, C, ...] of {} values, found shape {}", sample.size(),
         shape.str());
  input_.resize(sample.size());
  if (setup_.unconditional) unconditional_.resize(sample.size());
  if (setup_.kept) restored_.resize(sample.size());
  if (setup_.noise == SolverNoise::none && setup_.options.s_churn <= 0) return;
  noise_.resize(sample.size());
  if (setup_.noise != SolverNoise::brownian) return;
  const std::vector<uint64_t> seeds = noise.brownian_seeds();
  if (seeds.size() != 1 && seeds.size() != images_)
    fail(ErrorCode::shape_mismatch, "sampler: Brownian motion: expected 1 or {} seeds, found {}", images_,
         seeds.size());
  // The motion spans the noise levels above 0; a sampler at 0 adds no noise.
  const double low = setup_.sigmas.back() > 0 ? setup_.sigmas.back() : *(setup_.sigmas.end() - 2);
  for (const uint64_t seed : seeds)
    trees_.emplace_back(low, setup_.sigmas.front(), seed, sample.size() / seeds.size(), noise);
}

double SolverRun::lambda(double sigma) const { return std::log(alpha(sigma) / sigma); }

double SolverRun::sigma_of(double lambda) const {
  return network().is_flow() ? 1 / (1 + std::exp(lambda)) : std::exp(-lambda);
}

std::span<float> SolverRun::vector() { return vectors_.emplace_back(size(), 0.0f); }

double SolverRun::progress_at(double sigma) const {
  const double first = network().timestep(this->sigma(0));
  return sigma > 0 && first > 0 ? network().timestep(sigma) / first : 0;
}

void SolverRun::restore(double sigma, std::span<float> x) const {
  setup_.kept->restore(static_cast<float>(alpha(sigma)), static_cast<float>(sigma), progress_at(sigma), x);
}

void SolverRun::restore_clean(double sigma, std::span<float> x) const {
  setup_.kept->restore(1, 0, progress_at(sigma), x);
}

void SolverRun::denoise(std::span<const float> x, double sigma, std::span<float> denoised) {
  if (setup_.kept) {
    std::copy(x.begin(), x.end(), restored_.begin());
    if (called_ || setup_.kept_at_first_call) restore(sigma, restored_);
    x = restored_;
  }
  called_ = true;
  network().scale_input(sigma, x, input_);
  // The timestep that the schedule gives is that of the step's beginning; it may be a rounded one.
  const auto step = static_cast<size_t>(step_ - setup_.options.start_step);
  const bool begins = step < setup_.timesteps.size() && sigma == setup_.sigmas[step];
  const double timestep = begins ? setup_.timesteps[step] : network().timestep(sigma);
  model_.predict({input_, timestep, step_, denoised, unconditional_});
  network().to_denoised(sigma, x, denoised);
  if (!unconditional_.empty()) network().to_denoised(sigma, x, unconditional_);
  if (!setup_.kept) return;
  restore_clean(sigma, denoised);
  if (!unconditional_.empty()) restore_clean(sigma, unconditional_);
}

std::span<const float> SolverRun::noise(double from, double to) {
  if (trees_.empty()) {
    noise_source_.randn(noise_);
  } else {
    const size_t part = noise_.size() / trees_.size();
    for (size_t i = 0; i < trees_.size(); ++i) trees_[i].noise(from, to, std::span(noise_).subspan(i * part, part));
  }
  const auto scale = static_cast<float>(setup_.options.s_noise);
  if (scale != 1.0f)
    for (float& value : noise_) value *= scale;
  return noise_;
}

double SolverRun::churn(int i) {
  const SamplerOptions& o = setup_.options;
  const double from = sigma(i);
  if (!(o.s_churn > 0 && from >= o.s_tmin && from <= o.s_tmax)) return from;
  const double gamma = std::min(o.s_churn / steps(), std::sqrt(2.0) - 1), raised = from * (gamma + 1);
  mix(sample_, {{1, sample_}, {std::sqrt(raised * raised - from * from), noise(from, raised)}});
  return raised;
}

void SolverRun::done(int i) {
  step_ = setup_.options.start_step + i + 1;
  if (setup_.kept && setup_.kept_after_steps) restore(sigma(i + 1), sample_);
  if (observer_) observer_(step_ - 1, sample_);
}

}  // namespace easel::sampling
