#include "sampling/philox.h"

#include <algorithm>
#include <cmath>

namespace easel::sampling {

std::array<uint32_t, 4> PhiloxGenerator::block(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  constexpr uint32_t m0 = 0xd2511f53u, m1 = 0xcd9e8d57u, w0 = 0x9e3779b9u, w1 = 0xbb67ae85u;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{m0} * c[0], p1 = uint64_t{m1} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += w0;
    k[1] += w1;
  }
  return c;
}

void PhiloxGenerator::randn(std::span<float> out) {
  constexpr uint64_t kBlockSize = 256;
  const uint64_t n = out.size();
  if (n == 0) return;
  const uint64_t threads = kBlockSize * std::min((n + kBlockSize - 1) / kBlockSize, kMaxThreads / kBlockSize);
  const std::array<uint32_t, 2> key = {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)};
  const uint64_t calls = (n - 1) / (4 * threads) + 1;
  for (uint64_t call = 0; call < calls; ++call) {
    const uint64_t offset = offset_ + call, begin = 4 * threads * call;
    for (uint64_t thread = 0; thread < std::min(threads, n - begin); ++thread) {
      const auto bits = block({static_cast<uint32_t>(offset), static_cast<uint32_t>(offset >> 32),
                               static_cast<uint32_t>(thread), static_cast<uint32_t>(thread >> 32)},
                              key);
      for (uint64_t pair = 0; pair < 2; ++pair) {
        const uint64_t at = begin + thread + 2 * pair * threads;
        if (at >= n) break;
        const auto x = static_cast<float>(bits[2 * pair]), y = static_cast<float>(bits[2 * pair + 1]);
        const float u = std::fma(x, 0x1p-32f, 0x1p-33f);
        const float v = std::fma(y, 0x1p-32f * 6.2831855f, 0x1p-33f * 6.2831855f);
        const auto radius = static_cast<float>(std::sqrt(-2 * std::log(static_cast<double>(u))));
        out[at] = radius * static_cast<float>(std::sin(static_cast<double>(v)));
        if (at + threads < n) out[at + threads] = radius * static_cast<float>(std::cos(static_cast<double>(v)));
      }
    }
  }
  offset_ += calls;
}

}  // namespace easel::sampling
