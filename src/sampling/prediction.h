// What a network predicts, and the clean sample that follows from it.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <easel/shape.h>

#include "sampling/config.h"

namespace easel::sampling {

enum class Prediction { epsilon, sample, v, flow };

/// prediction_type of the configuration: epsilon, sample, v_prediction; `sample_allowed` as the class supports it.
Prediction prediction_of(const SchedulerConfig& config, bool sample_allowed);

/// Dynamic thresholding (Saharia et al. 2022, section 2.3): per item of the batch, s is the given quantile of |x|,
/// clamped to [1, max_value]; x := clamp(x, −s, s) / s.
struct Thresholding {
  bool enabled = false;
  float ratio = 0.995f;
  float max_value = 1.0f;

  /// Reads thresholding, dynamic_thresholding_ratio, sample_max_value.
  static Thresholding from(const SchedulerConfig& config);
  /// x: [N, ...], in place.
  void apply(std::span<float> x, const Shape& shape) const;

 private:
  mutable std::vector<float> magnitudes_;  // scratch, so that steps allocate nothing
};

/// What DDPM and DDIM do to the predicted clean sample: thresholding, else clip_sample to ±clip_sample_range.
struct SampleClip {
  Thresholding thresholding;
  bool clip = false;
  float range = 1.0f;

  static SampleClip from(const SchedulerConfig& config);
  /// Whether an infinite prediction comes out finite.
  bool bounds_infinity() const { return clip && !thresholding.enabled; }
  void apply(std::span<float> x, const Shape& shape) const;
};

/// The clean sample x0 from sample x_t and output m, with a = √ᾱ_t and b = √(1−ᾱ_t): (x − b·m)/a, m, or a·x − b·m.
void predict_original(Prediction prediction, float a, float b, std::span<const float> sample,
                      std::span<const float> output, std::span<float> original);

/// The clean sample where x = x0 + σ·noise: x − σ·m, m, or x/(σ²+1) − m·σ/√(σ²+1).
inline float euler_original(Prediction prediction, float sigma, float sample, float output) {
  if (prediction == Prediction::epsilon) return sample - sigma * output;
  if (prediction == Prediction::sample) return output;
  return output * (-sigma / std::sqrt(sigma * sigma + 1.0f)) + sample / (sigma * sigma + 1.0f);
}

}  // namespace easel::sampling
