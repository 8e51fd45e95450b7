#include "ops/copy.h"

#include <cstring>

#include "ops/parts.h"

namespace easel::ops {

namespace {

constexpr int64_t kTaskBytes = 65536;

struct Axis {
  int64_t size, from, to;  // strides in bytes
};

// Axes of size 1 removed, axes that both sides walk evenly merged. Outermost first.
struct Loops {
  Axis axes[kMaxRank];
  int count = 0;

  Loops(const Shape& shape, const Shape& from, const Shape& to, int64_t element) {
    for (int i = 0; i < shape.rank(); ++i) {
      const Axis axis{shape[i], from[i] * element, to[i] * element};
      if (axis.size == 1) continue;
      Axis* last = count ? &axes[count - 1] : nullptr;
      if (last && last->from == axis.from * axis.size && last->to == axis.to * axis.size)
        *last = {last->size * axis.size, axis.from, axis.to};
      else
        axes[count++] = axis;
    }
  }
  Axis take(int i) {
    const Axis axis = axes[i];
    for (--count; i < count; ++i) axes[i] = axes[i + 1];
    return axis;
  }
  int64_t total() const {
    int64_t n = 1;
    for (int i = 0; i < count; ++i) n *= axes[i].size;
    return n;
  }
  /// Offsets of iteration `index`, in bytes.
  void locate(int64_t index, int64_t& from, int64_t& to) const {
    for (int i = count - 1; i >= 0; --i) {
      const int64_t at = index % axes[i].size;
      index /= axes[i].size;
      from += at * axes[i].from;
      to += at * axes[i].to;
    }
  }
};

// run bytes stand together on both sides.
void copy_blocks(const std::byte* source, std::byte* target, const Loops& loops, int64_t run, ThreadPool& pool) {
  const int64_t pieces = std::max<int64_t>(1, (run + kTaskBytes - 1) / kTaskBytes);
  for_parts(pool, loops.total() * pieces, kTaskBytes / std::max<int64_t>(1, run), [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t at = part % pieces * kTaskBytes;
      int64_t from = at, to = at;
      loops.locate(part / pieces, from, to);
      std::memcpy(target + to, source + from, static_cast<size_t>(std::min(run - at, kTaskBytes)));
    }
  });
}

template <typename T>
void copy_tile(const std::byte* source, std::byte* target, const Axis& rows, int64_t row_count, const Axis& columns,
               int64_t column_count) {
  for (int64_t r = 0; r < row_count; ++r)
    for (int64_t c = 0; c < column_count; ++c)
      std::memcpy(target + r * rows.to + c * columns.to, source + r * rows.from + c * columns.from, sizeof(T));
}

void copy_tile(const std::byte* source, std::byte* target, const Axis& rows, int64_t row_count, const Axis& columns,
               int64_t column_count, int64_t element) {
  switch (element) {
    case 1: return copy_tile<uint8_t>(source, target, rows, row_count, columns, column_count);
    case 2: return copy_tile<uint16_t>(source, target, rows, row_count, columns, column_count);
    case 4: return copy_tile<uint32_t>(source, target, rows, row_count, columns, column_count);
    default: return copy_tile<uint64_t>(source, target, rows, row_count, columns, column_count);
  }
}

// Neighbours along one axis in the source, along another one in the target (or along none).
void copy_transposed(const std::byte* source, std::byte* target, Loops loops, int64_t element, ThreadPool& pool) {
  const Axis columns = loops.take(loops.count - 1);
  int near = loops.count - 1;
  for (int i = 0; i < loops.count; ++i)
    if (loops.axes[i].from == element) near = i;
  const Axis rows = near >= 0 ? loops.take(near) : Axis{1, 0, 0};
  // Few columns of many rows: lines of both sides stay in the first-level cache, even at strides of a power of two.
  constexpr int64_t kRows = 64, kColumns = 8;
  const int64_t row_tiles = (rows.size + kRows - 1) / kRows;
  const int64_t per_task = std::max<int64_t>(1, kTaskBytes / (kRows * columns.size * element));
  for_parts(pool, loops.total() * row_tiles, per_task, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t r = part % row_tiles * kRows;
      int64_t from = r * rows.from, to = r * rows.to;
      loops.locate(part / row_tiles, from, to);
      for (int64_t c = 0; c < columns.size; c += kColumns)
        copy_tile(source + from + c * columns.from, target + to + c * columns.to, rows, std::min(kRows, rows.size - r),
                  columns, std::min(kColumns, columns.size - c), element);
    }
  });
}

}  // namespace

void copy_strided(const void* source, const Shape& source_strides, void* target, const Shape& target_strides,
                  const Shape& shape, int64_t element, ThreadPool& pool) noexcept {
  for (const int64_t size : shape)
    if (size == 0) return;
  Loops loops(shape, source_strides, target_strides, element);
  const auto* from = static_cast<const std::byte*>(source);
  auto* to = static_cast<std::byte*>(target);
  if (loops.count == 0) return copy_blocks(from, to, loops, element, pool);
  const Axis last = loops.axes[loops.count - 1];
  if (last.from != element || last.to != element) return copy_transposed(from, to, loops, element, pool);
  loops.take(loops.count - 1);
  copy_blocks(from, to, loops, last.size * element, pool);
}

void copy_strided_plainly(const void* source, const Shape& source_strides, void* target, const Shape& target_strides,
                          const Shape& shape, int64_t element) noexcept {
  const int64_t count = shape.numel();
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, from = 0, to = 0;
    for (int axis = shape.rank() - 1; axis >= 0; --axis) {
      const int64_t at = rest % shape[axis];
      rest /= shape[axis];
      from += at * source_strides[axis];
      to += at * target_strides[axis];
    }
    std::memcpy(static_cast<std::byte*>(target) + to * element, static_cast<const std::byte*>(source) + from * element,
                static_cast<size_t>(element));
  }
}

}  // namespace easel::ops
