// Moving elements without changing them: what concat, slice, permute and reshape share.
#pragma once

#include <cstddef>

#include <easel/shape.h>

#include "base/thread_pool.h"

namespace easel::ops {

/// target[Σ i·target_strides] = source[Σ i·source_strides] for every index i of `shape`; strides in elements of
/// `element` bytes (1, 2, 4 or 8). Neighbouring elements go over in blocks, transposed axes in tiles.
void copy_strided(const void* source, const Shape& source_strides, void* target, const Shape& target_strides,
                  const Shape& shape, int64_t element, ThreadPool& pool) noexcept;

/// The same, one element after the other: the reference.
void copy_strided_plainly(const void* source, const Shape& source_strides, void* target, const Shape& target_strides,
                          const Shape& shape, int64_t element) noexcept;

}  // namespace easel::ops
