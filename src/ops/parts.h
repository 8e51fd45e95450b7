// Cutting work into tasks by shape alone, so that every number of threads gives the same bits.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/thread_pool.h"

namespace easel::ops {

/// Elements that one task of an element-wise operator handles: 64 KB of f32, enough to hide the cost of a task and
/// small enough to stay in a core's cache.
inline constexpr int64_t kTaskElements = 16384;

/// Calls body(begin, end) for consecutive parts of 0 … count, each of `per_task` items but the last.
template <typename Body>
void for_parts(ThreadPool& pool, int64_t count, int64_t per_task, Body&& body) noexcept {
  per_task = std::max<int64_t>(1, per_task);
  pool.parallel_for((count + per_task - 1) / per_task,
                    [&](int64_t task, int) { body(task * per_task, std::min(count, (task + 1) * per_task)); });
}

/// Rows of `columns` elements that make a task.
inline int64_t rows_per_task(int64_t columns) {
  return std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, columns));
}

/// Product of sizes begin … end−1.
template <typename Sizes>
int64_t product(const Sizes& sizes, int begin, int end) {
  int64_t n = 1;
  for (int i = begin; i < end; ++i) n *= sizes[i];
  return n;
}

}  // namespace easel::ops
