// Random numbers equal to torch's CUDA generator.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace easel::sampling {

/// torch.Generator("cuda").manual_seed(seed): Philox4x32-10 (Salmon et al. 2011) and curand's Box-Muller transform.
/// The counter is (calls, thread), the key the seed; a negative seed is its two's complement.
class PhiloxGenerator {
 public:
  /// Threads of one launch; where more normals are drawn at once, the order depends on the size of the GPU. This is
  /// the one of 108 multiprocessors with 2048 threads each (A100).
  static constexpr uint64_t kMaxThreads = uint64_t{108} * 2048;

  explicit PhiloxGenerator(uint64_t seed) : seed_(seed) {}

  /// Standard normals, as torch.randn(out.size(), device="cuda", generator=g) in float32: with T = 256·min(⌈n/256⌉,
  /// kMaxThreads/256) threads, thread i gives the values i, i + T, i + 2T, i + 3T of its first call of the function,
  /// and so on. u = x·2⁻³² + 2⁻³³, v = 2π·(y·2⁻³² + 2⁻³³); √(−2 ln u)·(sin v, cos v). A GPU's sine and cosine are
  /// approximate: the last bits differ (up to 1e-5).
  void randn(std::span<float> out);

  /// Philox4x32-10 of a counter and a key.
  static std::array<uint32_t, 4> block(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

 private:
  uint64_t seed_;
  uint64_t offset_ = 0;  // in calls of block()
};

}  // namespace easel::sampling
