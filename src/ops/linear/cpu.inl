// linear on packed weights: y = act(x · wᵀ + bias) + residual, cut into blocks of rows × ranges of panels.
#include "ops/gemm/gemm.inl"
#include "ops/linear/linear.h"

namespace easel::ops {
namespace {

/// The call in numbers.
struct LinearPlan {
  const LinearAttrs& attrs;
  const ArgType &x, &w;
  Words words;
  Panels panels;
  int64_t rows = 1, depth;
  int64_t blocks, block_rows, ranges;
  Pieces pieces;
  int64_t staged_row;  ///< words between rows of the staged copy of x; 0: x is read where it is
  bool pairs;          ///< x is bf16 already
  // The side branch: rank, its input and weight, and words of a row of the input that is converted first (0: none is).
  int64_t side = 0, staged_side = 0;
  size_t side_input;
  Panels side_panels;

  LinearPlan(const OpCall& call, int threads)
      : attrs(call.as<LinearAttrs>()),
        x(call.inputs[0]),
        w(call.inputs[1]),
        words(words_of(w)),
        panels(w, attrs.activation == Activation::geglu),
        depth(w.shape[1]),
        pieces(1, staged_words(words, depth), 0, elements_per_word(words), whole_words(words, panels)),
        side_input(attrs.low_rank ? attrs.low_rank_input() : 0),
        side_panels(attrs.low_rank ? call.inputs[side_input + 1] : w, attrs.activation == Activation::geglu) {
    for (int axis = 0; axis + 1 < x.shape.rank(); ++axis) rows *= x.shape[axis];
    // How tasks are cut may follow the threads: no sum is cut by it. Cutting along the columns is free where x is read
    // in place.
    const int64_t columns = std::max<int64_t>(1, panels.count()), most = block_rows_for(rows * columns, threads);
    block_rows = balanced_block(rows, most, threads);
    blocks = rows == 0 ? 0 : (rows + block_rows - 1) / block_rows;
    ranges = std::clamp<int64_t>(tasks_for(threads) / std::max<int64_t>(1, blocks), 1, columns);
    // Rows a power of two apart would share cache sets: one more line each.
    pairs = x.dtype == DType::bf16;
    staged_row = words == Words::bf16_dot && !pairs ? (staged_words(words, depth) + 15) / 16 * 16 + 16 : 0;
    if (attrs.low_rank) {
      side = staged_words(words, call.inputs[side_input + 1].shape[1]);
      if (words == Words::bf16_dot && call.inputs[side_input].dtype != DType::bf16) staged_side = (side + 15) / 16 * 16;
    }
  }

  /// Whether x is converted once for all tasks, or block by block where a block meets all columns anyway.
  bool staged_at_once() const { return staged_row != 0 && ranges > 1; }
  int64_t shared_bytes() const { return staged_at_once() ? rows * staged_row * 4 : 0; }
  /// Scratch of a thread before its staged rows, and before those of the side branch.
  int64_t sums_bytes() const { return block_scratch_bytes(words, pieces, panels.encoding != BlockFormat::none, side); }
  int64_t side_offset() const {
    return sums_bytes() + (staged_row != 0 && ranges == 1 ? block_rows * staged_row * 4 : 0);
  }
  int64_t thread_bytes() const {
    const int64_t bytes = side_offset() + block_rows * staged_side * 4;
    return (bytes + 63) / 64 * 64;
  }
};

/// Offset of row `row` in elements, for a view whose last axis is contiguous.
int64_t row_offset(const ArgType& type, int64_t row) {
  int64_t offset = 0;
  for (int axis = type.shape.rank() - 2; axis >= 0; --axis) {
    offset += row % type.shape[axis] * type.strides[axis];
    row /= type.shape[axis];
  }
  return offset;
}

template <Words words, bool blocks>
void linear_run(const KernelArgs& args, const LinearPlan& plan) {
  const float* x = static_cast<const float*>(args.inputs[0]);
  const auto* packed = static_cast<const uint32_t*>(args.inputs[1]);
  const auto* packed_side =
      plan.attrs.low_rank ? static_cast<const uint32_t*>(args.inputs[plan.side_input + 1]) : nullptr;
  const float* residual = plan.attrs.residual ? static_cast<const float*>(args.inputs[2 + plan.attrs.bias]) : nullptr;
  const ArgType* residual_type = residual ? &args.call.inputs[2u + plan.attrs.bias] : nullptr;
  auto* out = static_cast<std::byte*>(args.output);
  const int64_t out_row = plan.panels.columns() * size_of(args.call.output.dtype);
  const Epilogue epilogue{.bias = plan.attrs.bias ? static_cast<const float*>(args.inputs[2]) : nullptr,
                          .activation = plan.attrs.activation,
                          .narrow = args.call.output.dtype == DType::bf16};
  float* staged = reinterpret_cast<float*>(args.scratch);
  std::byte* thread_scratch = args.scratch + plan.shared_bytes();

  if (plan.staged_at_once()) {
    constexpr int64_t kRows = 16;
    args.pool.parallel_for((plan.rows + kRows - 1) / kRows, [&](int64_t task, int) {
      for (int64_t m = task * kRows; m < std::min(plan.rows, (task + 1) * kRows); ++m)
        stage_row<words>(x + row_offset(plan.x, m), plan.depth, staged + m * plan.staged_row);
    });
  }
  // Blocks of rows vary fastest: threads meet at the same panels, which then come from memory once.
  args.pool.parallel_for(plan.blocks * plan.ranges, [&](int64_t task, int thread) {
    const int64_t block = task % plan.blocks, range = task / plan.blocks;
    const int64_t m0 = block * plan.block_rows, m1 = std::min(plan.rows, m0 + plan.block_rows);
    std::byte* scratch = thread_scratch + thread * plan.thread_bytes();
    float* own = reinterpret_cast<float*>(scratch + plan.sums_bytes());
    float* own_side = reinterpret_cast<float*>(scratch + plan.side_offset());
    BlockRows rows;
    for (int64_t m = m0; m < m1; ++m) {
      const int i = rows.count++;
      if (plan.staged_at_once()) {
        rows.a[i] = staged + m * plan.staged_row;
      } else if (plan.staged_row != 0) {
        stage_row<words>(x + row_offset(plan.x, m), plan.depth, own + i * plan.staged_row);
        rows.a[i] = own + i * plan.staged_row;
      } else if (plan.pairs) {
        rows.a[i] =
            reinterpret_cast<const float*>(static_cast<const uint16_t*>(args.inputs[0]) + row_offset(plan.x, m));
      } else {
        rows.a[i] = x + row_offset(plan.x, m);
      }
      if (plan.side != 0) {
        const ArgType& t = args.call.inputs[plan.side_input];
        const int64_t offset = row_offset(t, m);
        rows.side[i] = static_cast<const float*>(args.inputs[plan.side_input]) + offset;
        if (t.dtype == DType::bf16)
          rows.side[i] =
              reinterpret_cast<const float*>(static_cast<const uint16_t*>(args.inputs[plan.side_input]) + offset);
        if (plan.staged_side != 0) {
          stage_row<words>(rows.side[i], t.shape.back(), own_side + i * plan.staged_side);
          rows.side[i] = own_side + i * plan.staged_side;
        }
      }
      rows.out[i] = out + m * out_row;
      rows.residual[i] = residual ? residual + row_offset(*residual_type, m) : nullptr;
      rows.channel_bias[i] = nullptr;
    }
    const int64_t count = plan.panels.count();
    const SideProduct side{plan.side_panels, packed_side, plan.side};
    multiply_block<words, blocks>(rows, plan.pieces, plan.panels, packed, count * range / plan.ranges,
                                  count * (range + 1) / plan.ranges, epilogue, scratch, packed_side ? &side : nullptr);
  });
}

void run(const KernelArgs& args) noexcept {
  const LinearPlan plan(args.call, args.pool.threads());
  with_words(plan.words, [&]<Words words>() {
    if constexpr (words == Words::f32 || words == Words::bf16_dot)
      if (plan.w.encoding != BlockFormat::none) return linear_run<words, true>(args, plan);
    linear_run<words, false>(args, plan);
  });
}

const char* reject(const OpCall& call) noexcept {
  const ArgType& x = call.inputs[0];
  if (x.dtype == DType::bf16 && x.shape.back() % 2 != 0) return "an odd number of bf16 elements makes no whole pairs";
  const auto& attrs = call.as<LinearAttrs>();
  if (!attrs.low_rank) return reject_types(call, /*narrow_in=*/true, /*narrow_out=*/true);
  const ArgType& t = call.inputs[attrs.low_rank_input()];
  if (t.dtype == DType::bf16 && t.shape.back() % 2 != 0) return "an odd rank in bf16 makes no whole pairs";
  if (words_of(call.inputs[1]) != words_of(call.inputs[attrs.low_rank_input() + 1]))
    return "blocks are not expanded to what the side branch's weight is";
  if (t.shape.back() < 1 || t.shape.back() > kPieceWords) return "the rank makes no single piece";
  return reject_types(call, /*narrow_in=*/true, /*narrow_out=*/true, attrs.low_rank_input());
}

const PackFormat* format(const OpCall& call, int index) noexcept {
  const auto& attrs = call.as<LinearAttrs>();
  if (index != 1 && !(attrs.low_rank && static_cast<size_t>(index) == attrs.low_rank_input() + 1)) return nullptr;
  return attrs.activation == Activation::geglu ? &kGatedPanelFormat : &kPanelFormat;
}

int64_t scratch_bytes(const OpCall& call, int threads) noexcept {
  const LinearPlan plan(call, threads);
  return plan.shared_bytes() + threads * plan.thread_bytes();
}

}  // namespace

EASEL_ISA_KERNEL(linear) = {.name = EASEL_ISA_NAME,
                            .isa = kUnitIsa,
                            .reject = reject,
                            .run = run,
                            .format = format,
                            .scratch_bytes = scratch_bytes,
                            .in_place = 0b1100};

}  // namespace easel::ops
