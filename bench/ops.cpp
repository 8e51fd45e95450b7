// bench_ops [TEXT] [--all] [--threads N] [--cpu]: times the kernels of every operator on its benchmark shapes.
// One table: operator, kernel, milliseconds (best of several runs), GFLOP/s or GB/s, and the share of the peak that a
// small probe reaches in the same run. TEXT selects the lines whose description contains it; --all also times kernels
// that a better one would replace. --cpu takes one thread's processor time instead of the clock, for busy machines.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "device/memory.h"
#include "ops/harness.h"

namespace {

using namespace easel;
using namespace easel::ops;

bool processor_time = false;

double now() {
  if (processor_time) {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename Body>
double best_seconds(Body&& body) {
  double best = 1e30;
  const double start = now();
  for (int i = 0; i < 3 || (i < 50 && now() - start < 0.4); ++i) {
    const double begin = now();
    body();
    best = std::min(best, now() - begin);
    if (now() - start > 5) break;
  }
  return best;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) void fma_probe_512(float* sink) {
  typedef float V __attribute__((vector_size(64)));
  V a[12], x = V{} + 1e-9f;
  for (V& v : a) asm volatile("" : "=v"(v));  // any values, but not known to be equal
  for (int i = 0; i < 200000; ++i)
    for (V& v : a) v = __builtin_ia32_vfmaddps512_mask(v, x, x, -1, 4);
  for (V& v : a) sink[0] += v[0];
}
__attribute__((target("avx2,fma"))) void fma_probe_256(float* sink) {
  typedef float V __attribute__((vector_size(32)));
  V a[12], x = V{} + 1e-9f;
  for (V& v : a) asm volatile("" : "=x"(v));
  for (int i = 0; i < 200000; ++i)
    for (V& v : a) v = __builtin_ia32_vfmaddps256(v, x, x);
  for (V& v : a) sink[0] += v[0];
}
#endif

// f32 GFLOP/s of all threads together.
double peak_gflops(ThreadPool& pool, Isa isa) {
  int lanes = 4;
  void (*probe)(float*) = nullptr;
#if defined(__x86_64__)
  if (isa >= Isa::avx512)
    probe = fma_probe_512, lanes = 16;
  else if (isa >= Isa::avx2)
    probe = fma_probe_256, lanes = 8;
#endif
  if (!probe) return 0;
  const double seconds = best_seconds([&] {
    pool.parallel_for(pool.threads() * 4, [&](int64_t, int) {
      float sink[16] = {};
      probe(sink);
      asm volatile("" : : "r"(sink) : "memory");
    });
  });
  return pool.threads() * 4 * 200000.0 * 12 * lanes * 2 / seconds * 1e-9;
}

// GB/s of a copy of 128 MB, read and written bytes counted.
double peak_bandwidth(ThreadPool& pool) {
  constexpr int64_t kBytes = 128 << 20, kPart = 1 << 20;
  const device::Buffer from(kBytes), to(kBytes);
  std::memset(from.data(), 1, kBytes);
  std::memset(to.data(), 1, kBytes);
  const double seconds = best_seconds([&] {
    pool.parallel_for(kBytes / kPart,
                      [&](int64_t i, int) { std::memcpy(to.data() + i * kPart, from.data() + i * kPart, kPart); });
  });
  return 2.0 * kBytes / seconds * 1e-9;
}

struct Peaks {
  double gflops, bandwidth;
};

void bench(const testing::Case& c, const Kernel& kernel, ThreadPool& pool, const Peaks& peaks,
           const std::string& description) {
  const OpCall call = testing::make_call(c);
  const int64_t output_bytes = call.output.shape.numel() * size_of(call.output.dtype);
  double bytes = c.bytes > 0 ? c.bytes : static_cast<double>(output_bytes);
  std::vector<device::Buffer> inputs, packed;
  std::vector<const void*> pointers;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const ArgType& type = call.inputs[i];
    const std::vector<std::byte> values = testing::make_values(c, i);
    if (c.bytes == 0) bytes += static_cast<double>(values.size());
    inputs.emplace_back(static_cast<int64_t>(values.size()) + 64);
    std::memcpy(inputs.back().data(), values.data(), values.size());
    pointers.push_back(inputs.back().data());
    const PackFormat* format = type.constant && kernel.format ? kernel.format(call, static_cast<int>(i)) : nullptr;
    if (!format) continue;
    packed.emplace_back(format->bytes(type));
    format->pack(type, pointers.back(), packed.back().data(), pool);
    pointers.back() = packed.back().data();
  }
  const device::Buffer output(output_bytes + 64);
  const device::Buffer scratch((kernel.scratch_bytes ? kernel.scratch_bytes(call, pool.threads()) : 0) + 64);
  const double seconds = best_seconds([&] {
    kernel.run({call, pointers.data(), output.data(), scratch.data(), pool});
  });
  const bool compute = c.flops > 0;
  const double rate = (compute ? c.flops : bytes) / seconds * 1e-9;
  const double peak = compute ? peaks.gflops : peaks.bandwidth;
  fmt::print("{:64} {:12} {:9.3f} ms {:8.1f} {:7} {}\n", description, kernel.name, seconds * 1e3, rate,
             compute ? "GFLOP/s" : "GB/s", peak > 0 ? fmt::format("{:4.0f} %", 100 * rate / peak) : "");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  std::string filter;
  bool all = false;
  int threads = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--all")
      all = true;
    else if (arg == "--cpu")
      processor_time = true, threads = 1;
    else if (arg == "--threads" && i + 1 < argc)
      threads = std::atoi(argv[++i]);
    else
      filter = arg;
  }
  const Isa isa = device::usable_isa();
  ThreadPool pool(threads);
  const Peaks peaks{peak_gflops(pool, isa), peak_bandwidth(pool)};
  fmt::print("{}, {}, {} threads; f32 peak {:.0f} GFLOP/s, copy {:.0f} GB/s (caches can do more)\n",
             device::cpu_model_name(), device::to_string(isa), pool.threads(), peaks.gflops, peaks.bandwidth);
  for (size_t op = 0; op < kOpCount; ++op)
    for (const testing::Case& c : testing::tests_of(op).benchmarks) {
      const std::string description = testing::describe(c);
      if (description.find(filter) == std::string::npos) continue;
      for (const Kernel* kernel : kernels_of(op)) {
        if (*rejection(*kernel, testing::make_call(c), isa) != '\0') continue;
        if (kernel == kernels_of(op).back() && kernels_of(op).size() > 1) continue;  // references take minutes
        bench(c, *kernel, pool, peaks, description);
        if (!all) break;
      }
    }
}
