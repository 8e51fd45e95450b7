#include "sampling/kept_part.h"

#include "base/fail.h"

namespace easel::sampling {

void KeptPart::restore(float signal, float level, double progress, std::span<float> sample) const {
  if (original.size() != sample.size() || noise.size() != sample.size() || mask.empty() ||
      sample.size() % mask.size() != 0)
    fail(ErrorCode::shape_mismatch, "inpainting: expected {} values, found {} and {} of noise, {} of mask",
         sample.size(), original.size(), noise.size(), mask.size());
  for (size_t begin = 0; begin < sample.size(); begin += mask.size())
    for (size_t k = 0; k < mask.size(); ++k) {
      const size_t j = begin + k;
      const float m = !differential ? mask[k] : mask[k] > 0 && mask[k] >= static_cast<float>(progress) ? 1.0f : 0.0f;
      if (m == 1) continue;
      const float kept = signal * original[j] + level * noise[j];
      sample[j] = m == 0 ? kept : (1 - m) * kept + m * sample[j];
    }
}

}  // namespace easel::sampling
