// Random numbers equal to torch's CPU generator, bit for bit.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace easel::sampling {

/// torch.Generator("cpu").manual_seed(seed): MT19937 (Matsumoto & Nishimura 1998) and torch's Box-Muller transforms.
/// Only the low 32 bits of the seed count, as in torch; a negative seed is its two's complement.
/// Copies continue independently from the same state.
class TorchGenerator {
 public:
  explicit TorchGenerator(uint64_t seed);

  /// Standard normals, equal to torch.randn(out.size(), generator=g) in float32; the state moves on as torch's does.
  /// 16 and more: float32 Box-Muller over blocks of 16, r = √(−2 ln(1−d_j)), θ = 2π·d_{j+8}; a last partial block is
  /// drawn anew over the last 16. Fewer: float64 Box-Muller, the sine half cached for the next short call.
  void randn(std::span<float> out);

  /// The next 32 random bits.
  uint32_t next();

 private:
  void refill();
  double uniform_double();
  double normal_double();

  std::array<uint32_t, 624> state_;
  int position_ = 624;
  std::optional<double> cached_;  // the sine half of the last float64 pair
};

}  // namespace easel::sampling
