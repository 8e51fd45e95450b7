// Giving buffers offsets in one arena so that those alive at the same time do not overlap.
#pragma once

#include <cstdint>
#include <vector>

namespace easel::exec {

/// A buffer that must keep its contents from command `first` to command `last`, both included.
struct Lifetime {
  int64_t bytes = 0;
  int first = 0;
  int last = 0;
};

struct MemoryPlan {
  std::vector<int64_t> offsets;  ///< one per buffer, multiples of kArenaAlignment
  int64_t bytes = 0;             ///< size of the arena
};

inline constexpr int64_t kArenaAlignment = 64;

/// Greedy by size: the largest buffer first, each at the lowest offset where nothing alive at the same time lies.
/// Deterministic. Pisarchyk & Lee 2020.
MemoryPlan plan_memory(const std::vector<Lifetime>& buffers);

}  // namespace easel::exec
