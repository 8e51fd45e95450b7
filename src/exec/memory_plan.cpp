#include "exec/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace easel::exec {

MemoryPlan plan_memory(const std::vector<Lifetime>& buffers) {
  MemoryPlan plan;
  plan.offsets.assign(buffers.size(), 0);
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });

  std::vector<size_t> placed;  // sorted by offset
  for (const size_t id : order) {
    const Lifetime& buffer = buffers[id];
    const int64_t size = (buffer.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
    int64_t offset = 0;
    for (const size_t other : placed) {
      const Lifetime& taken = buffers[other];
      if (taken.last < buffer.first || buffer.last < taken.first) continue;
      if (plan.offsets[other] >= offset + size) break;  // fits into the gap before it
      const int64_t end = plan.offsets[other] + (taken.bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
      offset = std::max(offset, end);
    }
    plan.offsets[id] = offset;
    plan.bytes = std::max(plan.bytes, offset + size);
    const auto position = std::upper_bound(placed.begin(), placed.end(), offset,
                                           [&](int64_t value, size_t other) { return value < plan.offsets[other]; });
    placed.insert(position, id);
  }
  return plan;
}

}  // namespace easel::exec
