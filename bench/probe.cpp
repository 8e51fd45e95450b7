#include "probe.h"

#include <chrono>
#include <cstring>
#include <ctime>

#include "device/memory.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace easel::bench {

double Timer::now() const {
  if (processor_time_) {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

namespace {

// Enough independent chains to hide an operation's latency.
constexpr int kRounds = 200000, kAccumulators = 12, kBf16Accumulators = 24;

struct Probe {
  void (*run)(float* sink) = nullptr;
  int flops_per_round = 0;
};

#if defined(__x86_64__)
// A constant that the compiler cannot see through, else the chains would be computed before the program runs.
__attribute__((target("avx512f"))) void fma_512(float* sink) {
  typedef float V __attribute__((vector_size(64)));
  V a[kAccumulators], x = V{} + 1e-9f;
  for (V& v : a) asm volatile("" : "=v"(v));
  for (int i = 0; i < kRounds; ++i)
    for (V& v : a) v = __builtin_ia32_vfmaddps512_mask(v, x, x, -1, 4);
  for (V& v : a) sink[0] += v[0];
}

__attribute__((target("avx2,fma"))) void fma_256(float* sink) {
  typedef float V __attribute__((vector_size(32)));
  V a[kAccumulators], x = V{} + 1e-9f;
  for (V& v : a) asm volatile("" : "=x"(v));
  for (int i = 0; i < kRounds; ++i)
    for (V& v : a) v = __builtin_ia32_vfmaddps256(v, x, x);
  for (V& v : a) sink[0] += v[0];
}

// A tile of 6 × 4 sums, whose factors come from memory that the compiler cannot see through. (The same register for
// both factors of all products runs at a third of the speed.)
__attribute__((target("avx512f,avx512bf16"))) void bf16_dot_512(float* sink) {
  constexpr int kRows = 6, kColumns = 4;
  static_assert(kBf16Accumulators == kRows * kColumns);
  const volatile int factors[kRows + kColumns] = {};
  __m512 a[kRows][kColumns] = {};
  __m512bh y[kColumns];
  for (int v = 0; v < kColumns; ++v) y[v] = (__m512bh)_mm512_set1_epi32(factors[kRows + v]);
  for (int i = 0; i < kRounds; ++i)
    for (int r = 0; r < kRows; ++r) {
      const __m512bh x = (__m512bh)_mm512_set1_epi32(factors[r]);
      for (int v = 0; v < kColumns; ++v) a[r][v] = _mm512_dpbf16_ps(a[r][v], x, y[v]);
    }
  for (auto& row : a)
    for (__m512& v : row) sink[0] += _mm512_cvtss_f32(v);
}
#endif

double gflops(ThreadPool& pool, const Timer& timer, const Probe& probe) {
  if (!probe.run) return 0;
  const int parts = pool.threads() * 4;
  const double seconds = timer.best_seconds([&] {
    pool.parallel_for(parts, [&](int64_t, int) {
      float sink[16] = {};
      probe.run(sink);
      asm volatile("" : : "r"(sink) : "memory");
    });
  });
  return static_cast<double>(parts) * kRounds * probe.flops_per_round / seconds * 1e-9;
}

double copy_gbps(ThreadPool& pool, const Timer& timer) {
  constexpr int64_t kBytes = 128 << 20, kPart = 1 << 20;
  const device::Buffer from(kBytes), to(kBytes);
  std::memset(from.data(), 1, kBytes);
  std::memset(to.data(), 1, kBytes);
  const double seconds = timer.best_seconds([&] {
    pool.parallel_for(kBytes / kPart,
                      [&](int64_t i, int) { std::memcpy(to.data() + i * kPart, from.data() + i * kPart, kPart); });
  });
  return 2.0 * kBytes / seconds * 1e-9;
}

}  // namespace

Peaks measure_peaks(ThreadPool& pool, device::Isa isa, const Timer& timer) {
  Probe f32, bf16;
#if defined(__x86_64__)
  using device::Isa;
  if (isa >= Isa::avx512)
    f32 = {fma_512, kAccumulators * 16 * 2};
  else if (isa >= Isa::avx2)
    f32 = {fma_256, kAccumulators * 8 * 2};
  if (isa >= Isa::avx512_bf16) bf16 = {bf16_dot_512, kBf16Accumulators * 16 * 2 * 2};
#endif
  return {gflops(pool, timer, f32), gflops(pool, timer, bf16), copy_gbps(pool, timer)};
}

}  // namespace easel::bench
