// Batched matrix products of activations. b is first packed, some matrices at a time, into panels [N/kPanel][K][kPanel]
// that the inner loop reads in a line; then blocks of rows × ranges of panels run in parallel. Weights known before the
// first run belong to linear, which packs them once.
#include "ops/isa.h"
#include "ops/simd.h"

namespace easel::ops {
namespace {

using simd::kLanes;
using simd::Vec;

/// A tile of kRows × kVectors sums fills most of the registers: 24 of 32, or 12 of 16.
constexpr int kRows = 6;
constexpr int kVectors = kLanes == 16 ? 4 : 2;
constexpr int64_t kPanel = kVectors * kLanes;
constexpr int64_t kBlockRows = 96;
/// A piece of K: its part of a panel stays in cache while the rows of a block pass by, and short sums round less.
constexpr int64_t kPiece = 256;
/// Packed matrices of at most this many bytes (or one matrix) exist at a time.
constexpr int64_t kPackedBytes = int64_t{16} << 20;
/// Parts of the work for each group of matrices, at least: enough for many threads.
constexpr int64_t kParts = 64;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

struct MatmulPlan {
  const MatmulAttrs& attrs;
  const ArgType &a, &b;
  int64_t matrices = 1, rows, depth, columns;
  int64_t panels, packed_size;  ///< per matrix, in floats
  int64_t group;                ///< matrices packed at a time
  int64_t blocks, ranges;       ///< parts of a matrix: of its rows, of its panels

  explicit MatmulPlan(const OpCall& call) noexcept
      : attrs(call.as<MatmulAttrs>()), a(call.inputs[0]), b(call.inputs[1]) {
    for (int axis = 0; axis + 2 < a.shape.rank(); ++axis) matrices *= a.shape[axis];
    rows = a.shape[-2];
    depth = a.shape[-1];
    columns = call.output.shape[-1];
    panels = ceil_div(columns, kPanel);
    // One line more: equal parts of all matrices shall not lie at equal offsets of a page.
    packed_size = panels * kPanel * depth + 16;
    group = larger(1, smaller(matrices, kPackedBytes / 4 / packed_size));
    blocks = ceil_div(rows, kBlockRows);
    ranges = larger(1, smaller(panels, ceil_div(kParts, larger(1, group * blocks))));
  }
};

/// Where matrix `index` of a batch begins, in elements.
int64_t matrix_offset(const ArgType& type, int64_t index) {
  int64_t offset = 0;
  for (int axis = type.shape.rank() - 3; axis >= 0; --axis) {
    offset += index % type.shape[axis] * type.strides[axis];
    index /= type.shape[axis];
  }
  return offset;
}

/// One panel of b, filled up with zeros: [K][kPanel].
void pack_panel(const MatmulPlan& plan, const float* b, int64_t panel, float* target) {
  const int64_t first = panel * kPanel, count = smaller(kPanel, plan.columns - first), row = plan.b.strides[-2];
  if (count < kPanel) std::memset(target, 0, sizeof(float) * static_cast<size_t>(plan.depth * kPanel));
  if (!plan.attrs.transpose_b) {
    for (int64_t k = 0; k < plan.depth; ++k)
      std::memcpy(target + k * kPanel, b + k * row + first, sizeof(float) * static_cast<size_t>(count));
    return;
  }
  // Sixteen numbers of each column at a time: the lines written then stay in the first-level cache.
  for (int64_t k = 0; k < plan.depth; k += 16)
    for (int64_t n = 0; n < count; ++n) {
      const float* source = b + (first + n) * row + k;
      for (int64_t i = 0; i < smaller(16, plan.depth - k); ++i) target[(k + i) * kPanel + n] = source[i];
    }
}

/// sums[r] += Σₖ a[r][k] · panel[k] for kR rows.
template <int kR>
void tile(const float* a, int64_t a_row, const float* panel, int64_t depth, float* sums) {
  Vec part[kR][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k, panel += kPanel) {
    Vec w[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) w[v] = simd::load(panel + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      const Vec x = simd::fill(a[r * a_row + k]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) part[r][v] += x * w[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* sum = sums + r * kPanel + v * kLanes;
      simd::store(sum, simd::load(sum) + part[r][v]);
    }
}

using Tile = void (*)(const float* a, int64_t a_row, const float* panel, int64_t depth, float* sums);
constexpr Tile kTiles[kRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

/// `count` ≤ kBlockRows rows of a times one panel into y.
void multiply(const MatmulPlan& plan, const float* a, int64_t count, const float* panel, int64_t columns, float* y,
              float* sums) {
  const int64_t a_row = plan.a.strides[-2];
  std::memset(sums, 0, sizeof(float) * static_cast<size_t>(count * kPanel));
  for (int64_t k = 0; k < plan.depth; k += kPiece) {
    const int64_t piece = smaller(kPiece, plan.depth - k);
    for (int64_t r = 0; r < count; r += kRows)
      kTiles[smaller(kRows, count - r) - 1](a + r * a_row + k, a_row, panel + k * kPanel, piece, sums + r * kPanel);
  }
  const Vec alpha = simd::fill(static_cast<float>(plan.attrs.alpha));
  for (int64_t r = 0; r < count; ++r)
    for (int64_t n = 0; n < columns; n += kLanes) {
      const Vec result = simd::load(sums + r * kPanel + n) * alpha;
      float* out = y + r * plan.columns + n;
      columns - n >= kLanes ? simd::store(out, result) : simd::store_n(out, result, columns - n);
    }
}

const char* reject(const OpCall& call) noexcept {
  for (const ArgType& input : call.inputs) {
    if (input.dtype != DType::f32) return "needs f32 inputs";
    if (input.strides[-1] != 1 && input.shape[-1] > 1) return "the last axis is strided";
  }
  return nullptr;
}

int64_t scratch_bytes(const OpCall& call, int threads) noexcept {
  const MatmulPlan plan(call);
  return 4 * (plan.group * plan.packed_size + threads * kBlockRows * kPanel);
}

void run(const KernelArgs& args) noexcept {
  const MatmulPlan plan(args.call);
  const auto* a = static_cast<const float*>(args.inputs[0]);
  const auto* b = static_cast<const float*>(args.inputs[1]);
  auto* y = static_cast<float*>(args.output);
  auto* packed = reinterpret_cast<float*>(args.scratch);
  float* sums = packed + plan.group * plan.packed_size;
  const int64_t parts = plan.blocks * plan.ranges;
  for (int64_t start = 0; start < plan.matrices; start += plan.group) {
    const int64_t count = smaller(plan.group, plan.matrices - start);
    args.pool.parallel_for(count * plan.panels, [&](int64_t task, int) {
      const int64_t i = task / plan.panels, panel = task % plan.panels;
      pack_panel(plan, b + matrix_offset(plan.b, start + i), panel,
                 packed + i * plan.packed_size + panel * plan.depth * kPanel);
    });
    args.pool.parallel_for(count * parts, [&](int64_t task, int thread) {
      const int64_t i = task / parts, block = task % parts / plan.ranges, range = task % plan.ranges;
      const int64_t first = block * kBlockRows, rows = smaller(kBlockRows, plan.rows - first);
      const float* x = a + matrix_offset(plan.a, start + i) + first * plan.a.strides[-2];
      for (int64_t p = plan.panels * range / plan.ranges; p < plan.panels * (range + 1) / plan.ranges; ++p)
        multiply(plan, x, rows, packed + i * plan.packed_size + p * plan.depth * kPanel,
                 smaller(kPanel, plan.columns - p * kPanel),
                 y + ((start + i) * plan.rows + first) * plan.columns + p * kPanel,
                 sums + thread * kBlockRows * kPanel);
    });
  }
}

}  // namespace

EASEL_ISA_KERNEL(matmul) = {
    .name = EASEL_ISA_NAME, .isa = kUnitIsa, .reject = reject, .run = run, .scratch_bytes = scratch_bytes};

}  // namespace easel::ops
