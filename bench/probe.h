// What the machine can do at most, measured in the same run as what is held against it.
#pragma once

#include "base/thread_pool.h"
#include "device/cpu/features.h"

namespace easel::bench {

/// Seconds on the clock, or of this thread's processor time for machines that are busy with other work.
class Timer {
 public:
  explicit Timer(bool processor_time) : processor_time_(processor_time) {}
  double now() const;

  /// The best of several runs of `body`: at least three and 0.4 s, at most 50, and no further one after 5 s.
  template <typename Body>
  double best_seconds(Body&& body) const {
    double best = 1e30;
    const double start = now();
    for (int i = 0; i < 3 || (i < 50 && now() - start < 0.4); ++i) {
      const double begin = now();
      body();
      const double end = now();
      if (end - begin < best) best = end - begin;
      if (end - start > 5) break;
    }
    return best;
  }

 private:
  bool processor_time_;
};

/// All threads together.
struct Peaks {
  double f32_gflops = 0;   ///< fused multiply-adds of the widest vectors; 0 where there is no probe
  double bf16_gflops = 0;  ///< bf16 dot products accumulated in f32; 0 where the processor has none
  double copy_gbps = 0;    ///< a copy of 128 MB, read and written bytes counted
};

Peaks measure_peaks(ThreadPool& pool, device::Isa isa, const Timer& timer);

}  // namespace easel::bench
