#include "sampling/guidance.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/fail.h"

namespace easel::sampling {

namespace {

class None final : public Guidance {
 public:
  bool wants_unconditional(double) const override { return false; }
  void combine(const Branches& in, std::span<float> out) override {
    std::copy(in.conditional.begin(), in.conditional.end(), out.begin());
  }
};

class ClassifierFree final : public Guidance {
 public:
  explicit ClassifierFree(double scale) : scale_(static_cast<float>(scale)) {}
  bool wants_unconditional(double) const override { return true; }
  void combine(const Branches& in, std::span<float> out) override {
    const float *c = in.conditional.data(), *u = in.unconditional.data();
    for (size_t i = 0; i < out.size(); ++i) out[i] = u[i] + scale_ * (c[i] - u[i]);
  }

 private:
  float scale_;
};

class TwoPrompts final : public Guidance {
 public:
  TwoPrompts(double scale, double middle_scale)
      : scale_(static_cast<float>(scale)), middle_scale_(static_cast<float>(middle_scale)) {}
  bool wants_unconditional(double) const override { return true; }
  bool wants_middle(double) const override { return true; }
  void combine(const Branches& in, std::span<float> out) override {
    const float *c = in.conditional.data(), *u = in.unconditional.data(), *m = in.middle.data();
    for (size_t i = 0; i < out.size(); ++i) out[i] = u[i] + middle_scale_ * (m[i] - u[i]) + scale_ * (c[i] - m[i]);
  }

 private:
  float scale_, middle_scale_;
};

// A rule around another.
class Wrapper : public Guidance {
 public:
  explicit Wrapper(GuidancePtr inner) : inner_(std::move(inner)) {}
  bool wants_unconditional(double progress) const override { return inner_->wants_unconditional(progress); }
  bool wants_middle(double progress) const override { return inner_->wants_middle(progress); }
  bool wants_perturbed(double progress) const override { return inner_->wants_perturbed(progress); }

 protected:
  GuidancePtr inner_;
};

double mean_of(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// With n − 1 in the denominator, as torch.std.
double deviation_of(std::span<const float> values) {
  const double mean = mean_of(values);
  double sum = 0;
  for (const float value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(std::max<size_t>(values.size() - 1, 1)));
}

class Rescaled final : public Wrapper {
 public:
  Rescaled(GuidancePtr inner, double phi) : Wrapper(std::move(inner)), phi_(phi) {}
  void combine(const Branches& in, std::span<float> out) override {
    inner_->combine(in, out);
    const size_t size = out.size() / static_cast<size_t>(in.shape[0]);
    for (size_t begin = 0; begin < out.size(); begin += size) {
      const std::span<float> guided = out.subspan(begin, size);
      const double wide = deviation_of(guided);
      if (!(wide > 0)) continue;  // a constant prediction has nothing to scale
      const double ratio = deviation_of(in.conditional.subspan(begin, size)) / wide;
      const auto factor = static_cast<float>(phi_ * ratio + (1 - phi_));
      for (float& value : guided) value *= factor;
    }
  }

 private:
  double phi_;
};

class PerturbedAttention final : public Wrapper {
 public:
  PerturbedAttention(GuidancePtr inner, double scale, double adaptive_scale)
      : Wrapper(std::move(inner)), scale_(scale), adaptive_scale_(adaptive_scale) {}
  bool wants_perturbed(double) const override { return true; }
  void combine(const Branches& in, std::span<float> out) override {
    inner_->combine(in, out);
    constexpr double kFirst = 1000;  // whatever the network was trained with, as the reference
    const double scale =
        adaptive_scale_ > 0 ? std::max(0.0, scale_ - adaptive_scale_ * (kFirst - in.timestep)) : scale_;
    const auto s = static_cast<float>(scale);
    for (size_t i = 0; i < out.size(); ++i) out[i] = out[i] + s * (in.conditional[i] - in.perturbed[i]);
  }

 private:
  double scale_, adaptive_scale_;
};

class DynamicallyThresholded final : public Wrapper {
 public:
  DynamicallyThresholded(GuidancePtr inner, GuidancePtr mimic, double quantile)
      : Wrapper(std::move(inner)), mimic_(std::move(mimic)), quantile_(quantile) {}

  void combine(const Branches& in, std::span<float> out) override {
    milder_.resize(out.size());
    inner_->combine(in, out);
    mimic_->combine(in, milder_);
    const size_t plane = out.size() / static_cast<size_t>(in.shape[0] * in.shape[1]);
    deviations_.resize(plane);
    for (size_t begin = 0; begin < out.size(); begin += plane)
      threshold(out.subspan(begin, plane), std::span(milder_).subspan(begin, plane));
  }

 private:
  void threshold(std::span<float> values, std::span<const float> milder) {
    const double milder_mean = mean_of(milder), mean = mean_of(values);
    double reach = 0;
    for (const float value : milder) reach = std::max(reach, std::fabs(value - milder_mean));
    for (size_t j = 0; j < values.size(); ++j) deviations_[j] = std::fabs(values[j] - mean);
    // Linear between the two neighbouring ranks.
    const double rank = quantile_ * static_cast<double>(values.size() - 1);
    const auto low = static_cast<size_t>(rank);
    const auto at = deviations_.begin() + static_cast<ptrdiff_t>(low);
    std::nth_element(deviations_.begin(), at, deviations_.end());
    const double below = *at;
    const double above = low + 1 < values.size() ? *std::min_element(at + 1, deviations_.end()) : below;
    const double limit = std::max(below + (rank - static_cast<double>(low)) * (above - below), reach);
    if (!(limit > 0)) return;
    for (float& value : values)
      value = static_cast<float>(std::clamp(value - mean, -limit, limit) / limit * reach + mean);
  }

  GuidancePtr mimic_;
  double quantile_;
  std::vector<float> milder_;
  std::vector<double> deviations_;
};

class Within final : public Wrapper {
 public:
  Within(GuidancePtr inner, double start, double end) : Wrapper(std::move(inner)), start_(start), end_(end) {}
  bool wants_unconditional(double progress) const override {
    return active(progress) && inner_->wants_unconditional(progress);
  }
  bool wants_middle(double progress) const override { return active(progress) && inner_->wants_middle(progress); }
  bool wants_perturbed(double progress) const override { return active(progress) && inner_->wants_perturbed(progress); }
  void combine(const Branches& in, std::span<float> out) override {
    if (active(in.progress))
      inner_->combine(in, out);
    else
      std::copy(in.conditional.begin(), in.conditional.end(), out.begin());
  }

 private:
  bool active(double progress) const { return progress >= start_ && progress <= end_; }
  double start_, end_;
};

}  // namespace

GuidancePtr no_guidance() { return std::make_unique<None>(); }
GuidancePtr classifier_free(double scale) { return std::make_unique<ClassifierFree>(scale); }
GuidancePtr two_prompts(double scale, double middle_scale) { return std::make_unique<TwoPrompts>(scale, middle_scale); }
GuidancePtr rescaled(GuidancePtr inner, double phi) { return std::make_unique<Rescaled>(std::move(inner), phi); }
GuidancePtr perturbed_attention(GuidancePtr inner, double scale, double adaptive_scale) {
  return std::make_unique<PerturbedAttention>(std::move(inner), scale, adaptive_scale);
}
GuidancePtr dynamically_thresholded(GuidancePtr inner, GuidancePtr mimic, double quantile) {
  return std::make_unique<DynamicallyThresholded>(std::move(inner), std::move(mimic), quantile);
}
GuidancePtr within(GuidancePtr inner, double start, double end) {
  return std::make_unique<Within>(std::move(inner), start, end);
}

GuidancePtr make_guidance(const GuidanceOptions& o) {
  const auto check = [](const char* option, double value, double min, double max) {
    if (!(value >= min && value <= max))
      fail(ErrorCode::invalid_argument, "--{}: expected a number from {} to {}, found {}", option, min, max, value);
  };
  constexpr double kMost = 1e6;
  if (!std::isfinite(o.scale))
    fail(ErrorCode::invalid_argument, "--guidance-scale: expected a finite number, found {}", o.scale);
  check("guidance-rescale", o.rescale, 0, 1);
  check("guidance-start", o.start, 0, 1);
  check("guidance-end", o.end, 0, 1);
  if (o.start > o.end)
    fail(ErrorCode::invalid_argument, "--guidance-start {}: expected at most --guidance-end {}", o.start, o.end);
  check("threshold-quantile", o.threshold_quantile, 0, 1);
  if (o.middle_scale) check("middle-guidance-scale", *o.middle_scale, -kMost, kMost);
  check("pag-scale", o.pag_scale, 0, kMost);
  check("pag-adaptive-scale", o.pag_adaptive_scale, 0, kMost);
  if (o.pag_adaptive_scale > 0 && !(o.pag_scale > 0))
    fail(ErrorCode::invalid_argument, "--pag-adaptive-scale {}: expected with a --pag-scale above 0, found {}",
         o.pag_adaptive_scale, o.pag_scale);
  if (o.mimic_scale) check("dynamic-thresholding", *o.mimic_scale, -kMost, kMost);
  if (o.scale <= 1 && !o.always && !o.middle_scale) {
    const char* without = o.rescale > 0 ? "--guidance-rescale" : o.mimic_scale ? "--dynamic-thresholding" : nullptr;
    if (without)
      fail(ErrorCode::invalid_argument, "{}: expected with a --guidance-scale above 1, found {}", without, o.scale);
    GuidancePtr alone = no_guidance();
    if (o.pag_scale > 0) alone = perturbed_attention(std::move(alone), o.pag_scale, o.pag_adaptive_scale);
    return o.start > 0 || o.end < 1 ? within(std::move(alone), o.start, o.end) : std::move(alone);
  }
  const auto base = [&](double scale) {
    return o.middle_scale ? two_prompts(scale, *o.middle_scale) : classifier_free(scale);
  };
  GuidancePtr guidance = base(o.scale);
  if (o.mimic_scale)
    guidance = dynamically_thresholded(std::move(guidance), base(*o.mimic_scale), o.threshold_quantile);
  if (o.pag_scale > 0) guidance = perturbed_attention(std::move(guidance), o.pag_scale, o.pag_adaptive_scale);
  if (o.rescale > 0) guidance = rescaled(std::move(guidance), o.rescale);
  if (o.start > 0 || o.end < 1) guidance = within(std::move(guidance), o.start, o.end);
  return guidance;
}

}  // namespace easel::sampling
