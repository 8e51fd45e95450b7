#include "probe.h"

#include <chrono>
#include <cstring>
#include <ctime>

#include "device/memory.h"

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

constexpr int kRounds = 200000, kAccumulators = 12;  // enough independent chains to hide an operation's latency

struct Probe {
  void (*run)(float* sink) = nullptr;
  int flops_per_operation = 0;
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

// Assembly, since the types of the intrinsic differ between compilers; in one piece, so that the sums stay in
// registers.
__attribute__((target("avx512f"))) void bf16_dot_512(float* sink) {
  typedef float V __attribute__((vector_size(64)));
  V a[kAccumulators] = {}, x = {};
  static_assert(kAccumulators == 12, "the operands below");
#define DOT(i) "vdpbf16ps %12, %12, %" #i "\n\t"
  for (int i = 0; i < kRounds; ++i)
    asm volatile(DOT(0) DOT(1) DOT(2) DOT(3) DOT(4) DOT(5) DOT(6) DOT(7) DOT(8) DOT(9) DOT(10) DOT(11)
                 : "+v"(a[0]), "+v"(a[1]), "+v"(a[2]), "+v"(a[3]), "+v"(a[4]), "+v"(a[5]), "+v"(a[6]), "+v"(a[7]),
                   "+v"(a[8]), "+v"(a[9]), "+v"(a[10]), "+v"(a[11])
                 : "v"(x));
#undef DOT
  for (V& v : a) sink[0] += v[0];
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
  return static_cast<double>(parts) * kRounds * kAccumulators * probe.flops_per_operation / seconds * 1e-9;
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
    f32 = {fma_512, 16 * 2};
  else if (isa >= Isa::avx2)
    f32 = {fma_256, 8 * 2};
  if (isa >= Isa::avx512_bf16) bf16 = {bf16_dot_512, 16 * 2 * 2};
#endif
  return {gflops(pool, timer, f32), gflops(pool, timer, bf16), copy_gbps(pool, timer)};
}

}  // namespace easel::bench
