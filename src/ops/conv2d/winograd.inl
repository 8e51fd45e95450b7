// 3 × 3 convolution with stride 1 by Winograd's method, on the same packed weights as the direct one.
//
// The picture is cut into tiles of kOut × kOut results. Per tile, the transformed input V[point][tile][C] is multiplied
// with the transformed filters U[point][C][O], one matrix product per point, giving M[point][tile][O].
// Filters are transformed on the fly, a panel at a time, so that no second copy of the weights is kept. Two orders:
//  - shared filters (many tiles): all filters are transformed once per call; a task is a block of tiles with its own V.
//  - shared input (few tiles): V of all tiles is made once; a task is a panel, which transforms its own filters.
// Planes of V, U and M are padded: a power of two between them would map all points to the same cache sets.
#include "ops/conv2d/winograd_math.inl"

namespace easel::ops {
namespace {

constexpr int64_t round_up(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }
constexpr int64_t padded_plane(int64_t words) { return round_up(words, 1024) + 16; }

template <int kOut>
struct WinogradPlan {
  static constexpr int kSide = kOut + 2, kPoints = kSide * kSide;
  const Conv2dAttrs& attrs;
  const ArgType &x, &w, &out;
  Words words;
  Panels panels;
  int64_t depth;                    ///< words of V per tile and point
  int64_t piece, pieces;            ///< cut of the depth
  int64_t tiles_y, tiles_x, tiles;  ///< of all pictures
  int64_t block, blocks;            ///< tiles at a time
  int64_t splits;                   ///< tasks per panel, each with a part of the tiles
  bool shared_filters;
  int64_t row, v_plane, u_plane, m_plane;  ///< in words

  WinogradPlan(const OpCall& call, int threads)
      : attrs(call.as<Conv2dAttrs>()),
        x(call.inputs[0]),
        w(call.inputs[1]),
        out(call.output),
        words(words_of(w)),
        panels(w),
        depth(staged_words(words, panels.padded_channels())),
        tiles_y((out.shape[1] + kOut - 1) / kOut),
        tiles_x((out.shape[2] + kOut - 1) / kOut),
        tiles(out.shape[0] * tiles_y * tiles_x) {
    constexpr int64_t kSharedFilterWords = int64_t{64} << 18;  // 64 MiB
    shared_filters = tiles >= 192 && panels.count() * kPanel * kPoints * depth <= kSharedFilterWords;
    const auto cut = [](int64_t size, int64_t most) { return std::max<int64_t>(1, (size + most - 1) / most); };
    // A task's M passes by once per piece and its U should stay in the L2 cache: few tiles, short pieces.
    pieces = cut(depth, shared_filters ? kPieceWords : std::clamp<int64_t>(tiles * 5 / 2, 64, 320));
    piece = std::max<int64_t>(16, round_up((depth + pieces - 1) / pieces, 16));
    pieces = cut(depth, piece);
    // How tiles are shared out may follow the threads: no sum is cut by it.
    if (shared_filters)
      block = balanced_block(tiles, std::clamp<int64_t>(tiles / (2 * threads), 12, 96), threads);
    else
      block = (tiles + cut(tiles, 256) - 1) / cut(tiles, 256);
    block = std::max<int64_t>(1, block);
    blocks = (tiles + block - 1) / block;
    splits = std::clamp<int64_t>(2 * threads / std::max<int64_t>(1, panels.count()), 1, (block + 7) / 8);
    row = round_up(depth, 16) + 16;
    v_plane = padded_plane(block * row);
    u_plane = padded_plane(piece * kPanel);
    m_plane = padded_plane(block * kPanel);
  }

  int64_t v_bytes() const { return kPoints * v_plane * 4; }
  int64_t u_piece_words() const { return kPoints * u_plane; }
  int64_t shared_bytes() const { return shared_filters ? panels.count() * pieces * u_piece_words() * 4 : v_bytes(); }
  int64_t thread_bytes() const { return kPoints * m_plane * 4 + (shared_filters ? v_bytes() : u_piece_words() * 4); }
  /// The words of a piece: those of A, which begin at `index * piece`.
  int64_t piece_size(int64_t index) const { return std::min(piece, depth - index * piece); }
};

/// Filters of one panel, words [first, first + count) along the channels → U[point][count][columns].
template <Words words, int kOut>
void transform_filters(const WinogradPlan<kOut>& plan, const uint32_t* packed, int64_t panel, int64_t first,
                       int64_t count, float* u) {
  constexpr int kPoints = WinogradPlan<kOut>::kPoints;
  const int width = plan.panels.vectors(panel) * kW;
  const int64_t tap = plan.panels.padded_channels() / plan.panels.pair * width;
  constexpr int64_t per_word = elements_per_word(words);
  const uint32_t* source = packed + plan.panels.offset(panel) + first / per_word * width;
  for (int64_t i = 0; i < count / per_word * width; i += kW) {
    F g[9], points[kPoints];
    if constexpr (words == Words::f32) {
#pragma GCC unroll 9
      for (int t = 0; t < 9; ++t) g[t] = load(reinterpret_cast<const float*>(source + t * tap + i));
      filter_transform_2d<kOut>(g, points);
#pragma GCC unroll 36
      for (int p = 0; p < kPoints; ++p) store(u + p * plan.u_plane + i, points[p]);
    } else {
      F g_odd[9], points_odd[kPoints];
#pragma GCC unroll 9
      for (int t = 0; t < 9; ++t)
        words == Words::f16_as_f32 ? split_f16(source + t * tap + i, g[t], g_odd[t])
                                   : split_bf16(source + t * tap + i, g[t], g_odd[t]);
      filter_transform_2d<kOut>(g, points);
      filter_transform_2d<kOut>(g_odd, points_odd);
      if constexpr (words == Words::bf16_dot) {
#pragma GCC unroll 36
        for (int p = 0; p < kPoints; ++p) store_pairs(u + p * plan.u_plane + i, points[p], points_odd[p]);
      } else {
        // Two rows of U for one of words.
        float* target = u + i / width * width * 2 + i % width;
#pragma GCC unroll 36
        for (int p = 0; p < kPoints; ++p) {
          store(target + p * plan.u_plane, points[p]);
          store(target + p * plan.u_plane + width, points_odd[p]);
        }
      }
    }
  }
}

/// Channels [first, last) of one tile → V[point][channels], planes v_plane apart.
template <Words words, int kOut, typename X>
void transform_input(const WinogradPlan<kOut>& plan, const X* x, int64_t tile, int64_t first, int64_t last, float* v) {
  constexpr int kSide = WinogradPlan<kOut>::kSide, kPoints = WinogradPlan<kOut>::kPoints;
  const Shape &shape = plan.x.shape, &strides = plan.x.strides;
  const int64_t b = tile / (plan.tiles_y * plan.tiles_x);
  const int64_t y0 = tile / plan.tiles_x % plan.tiles_y * kOut - plan.attrs.pad_top;
  const int64_t x0 = tile % plan.tiles_x * kOut - plan.attrs.pad_left;
  const X* pixels[kPoints];
  for (int i = 0; i < kSide; ++i)
    for (int j = 0; j < kSide; ++j) {
      const bool inside = y0 + i >= 0 && y0 + i < shape[1] && x0 + j >= 0 && x0 + j < shape[2];
      pixels[i * kSide + j] = inside ? x + b * strides[0] + (y0 + i) * strides[1] + (x0 + j) * strides[2] : nullptr;
    }
  const bool interior = y0 >= 0 && y0 + kSide <= shape[1] && x0 >= 0 && x0 + kSide <= shape[2];
  const auto transform = [&](int64_t c, F* points) {
    const int64_t n = std::clamp<int64_t>(shape[3] - c, 0, kW);
    F d[kPoints];
    if (interior && n == kW) {
      // The next tile along the line shares two columns; the others may come from main memory.
#pragma GCC unroll 6
      for (int i = 0; i < kSide; ++i)
#pragma GCC unroll 4
        for (int j = 2; j < kSide; ++j) __builtin_prefetch(pixels[i * kSide + j] + kOut * strides[2] + c);
#pragma GCC unroll 36
      for (int i = 0; i < kPoints; ++i) d[i] = simd::load_as(pixels[i] + c, kW);
    } else {
      for (int i = 0; i < kPoints; ++i) d[i] = pixels[i] && n > 0 ? simd::load_as(pixels[i] + c, n) : zero();
    }
    input_transform_2d<kOut>(d, points);
  };
  F points[kPoints];
  if constexpr (words == Words::bf16_dot) {
    for (int64_t c = first; c < last; c += 2 * kW) {
      F upper[kPoints];
      transform(c, points);
      transform(c + kW, upper);
#pragma GCC unroll 36
      for (int p = 0; p < kPoints; ++p) store_bf16(v + p * plan.v_plane + c / 2, points[p], upper[p]);
    }
  } else {
    for (int64_t c = first; c < last; c += kW) {
      transform(c, points);
#pragma GCC unroll 36
      for (int p = 0; p < kPoints; ++p) store(v + p * plan.v_plane + c, points[p]);
    }
  }
}

/// Pointers of the pixels of one tile, as finish_tile wants them.
template <int kOut>
struct TileRows {
  int count = 0;
  void* out[kOut * kOut];
  const float* residual[kOut * kOut];
  const float* channel_bias[kOut * kOut];
};

/// M of tiles [first, first + count) → results of one panel.
template <int kOut>
void transform_output(const WinogradPlan<kOut>& plan, const ConvPointers& pointers, int64_t first, int64_t count,
                      int64_t panel, const float* m) {
  constexpr int kPoints = WinogradPlan<kOut>::kPoints, kPixels = kOut * kOut;
  const int width = plan.panels.vectors(panel) * kW;
  const Epilogue epilogue = pointers.epilogue(plan.attrs);
  const Shape& shape = plan.out.shape;
  for (int64_t t = 0; t < count; ++t) {
    const int64_t tile = first + t, b = tile / (plan.tiles_y * plan.tiles_x);
    const int64_t y0 = tile / plan.tiles_x % plan.tiles_y * kOut, x0 = tile % plan.tiles_x * kOut;
    TileRows<kOut> rows;
    int slots[kPixels];
    for (int i = 0; i < kOut; ++i)
      for (int j = 0; j < kOut; ++j) {
        const int64_t y = y0 + i, x = x0 + j;
        slots[i * kOut + j] = -1;
        if (y >= shape[1] || x >= shape[2]) continue;
        const int slot = slots[i * kOut + j] = rows.count++;
        pointers.set_row(rows, slot, b, y, x);
      }
    alignas(64) float results[kPixels * kPanel];
    for (int i = 0; i < width; i += kW) {
      F points[kPoints], pixels[kPixels];
#pragma GCC unroll 36
      for (int p = 0; p < kPoints; ++p) points[p] = load(m + p * plan.m_plane + t * width + i);
      output_transform_2d<kOut>(points, pixels);
      for (int q = 0; q < kPixels; ++q)
        if (slots[q] >= 0) store(results + slots[q] * width + i, pixels[q]);
    }
    finish_tile(epilogue, rows, 0, rows.count, results, plan.panels, panel);
  }
  if (epilogue.stream) end_stores();
}

template <Words words, typename X, int kOut>
void winograd_run(const KernelArgs& args, const WinogradPlan<kOut>& plan) {
  constexpr int kPoints = WinogradPlan<kOut>::kPoints;
  constexpr Words product = words == Words::bf16_dot ? Words::bf16_dot : Words::f32;
  const ConvPointers pointers(args);
  const X* x = static_cast<const X*>(args.inputs[0]);
  const auto* packed = static_cast<const uint32_t*>(args.inputs[1]);
  const int64_t channels = plan.panels.padded_channels(), panel_count = plan.panels.count();
  float* shared = reinterpret_cast<float*>(args.scratch);
  const auto own = [&](int thread) {
    return reinterpret_cast<float*>(args.scratch + plan.shared_bytes() + thread * plan.thread_bytes());
  };
  // One piece of the depth of one panel, for all points: M (+)= V · U.
  const auto multiply = [&](int64_t panel, int64_t index, int64_t count, const float* v, const float* u, float* m) {
    const int vectors = plan.panels.vectors(panel), height = tile_rows(vectors), width = vectors * kW;
    const Walk walk{1, 0, plan.piece_size(index)};
    for (int p = 0; p < kPoints; ++p)
      for (int64_t t = 0; t < count; t += height) {
        const int rows = static_cast<int>(std::min<int64_t>(height, count - t));
        const float* a[kMaxTileRows];
        for (int r = 0; r < rows; ++r) a[r] = v + (t + r) * plan.row;
        tile_function<product>(rows, vectors)(a, p * plan.v_plane + index * plan.piece, walk, u + p * plan.u_plane,
                                              m + p * plan.m_plane + t * width, index > 0);
      }
  };

  if (plan.shared_filters) {
    args.pool.parallel_for(panel_count * plan.pieces, [&](int64_t task, int) {
      const int64_t index = task % plan.pieces;
      transform_filters<words>(plan, packed, task / plan.pieces, index * plan.piece, plan.piece_size(index),
                               shared + task * plan.u_piece_words());
    });
    args.pool.parallel_for(plan.blocks, [&](int64_t task, int thread) {
      float *m = own(thread), *v = m + kPoints * plan.m_plane;
      const int64_t first = task * plan.block, count = std::min(plan.block, plan.tiles - first);
      for (int64_t t = 0; t < count; ++t) transform_input<words>(plan, x, first + t, 0, channels, v + t * plan.row);
      for (int64_t panel = 0; panel < panel_count; ++panel) {
        for (int64_t i = 0; i < plan.pieces; ++i)
          multiply(panel, i, count, v, shared + (panel * plan.pieces + i) * plan.u_piece_words(), m);
        transform_output(plan, pointers, first, count, panel, m);
      }
    });
    return;
  }
  for (int64_t first = 0; first < plan.tiles; first += plan.block) {
    const int64_t count = std::min(plan.block, plan.tiles - first);
    constexpr int64_t kChannels = 320;  // per task
    const int64_t parts = (channels + kChannels - 1) / kChannels;
    const int64_t group = std::max<int64_t>(1, count * parts / (8 * args.pool.threads()));  // tiles of a task
    args.pool.parallel_for((count + group - 1) / group * parts, [&](int64_t task, int) {
      const int64_t begin = task / parts * group, c = task % parts * kChannels;
      for (int64_t t = begin; t < std::min(count, begin + group); ++t)
        transform_input<words>(plan, x, first + t, c, std::min(channels, c + kChannels), shared + t * plan.row);
    });
    args.pool.parallel_for(panel_count * plan.splits, [&](int64_t task, int thread) {
      const int64_t panel = task / plan.splits, split = task % plan.splits;
      const int64_t begin = count * split / plan.splits, size = count * (split + 1) / plan.splits - begin;
      float *m = own(thread), *u = m + kPoints * plan.m_plane;
      for (int64_t i = 0; i < plan.pieces; ++i) {
        transform_filters<words>(plan, packed, panel, i * plan.piece, plan.piece_size(i), u);
        multiply(panel, i, size, shared + begin * plan.row, u, m);
      }
      transform_output(plan, pointers, first + begin, size, panel, m);
    });
  }
}

template <int kOut>
void winograd(const KernelArgs& args) noexcept {
  const WinogradPlan<kOut> plan(args.call, args.pool.threads());
  with_input(plan.words, plan.x.dtype, [&]<Words words, typename X>() { winograd_run<words, X>(args, plan); });
}

template <int kOut>
int64_t winograd_scratch(const OpCall& call, int threads) noexcept {
  const WinogradPlan<kOut> plan(call, threads);
  return plan.shared_bytes() + threads * plan.thread_bytes();
}

/// Where the method pays, as measured on a Zen 5 core with 512-bit vectors against the direct rows: every tile shares
/// the cost of reading and transforming the filters, every channel that of transforming the tiles.
struct WinogradLimit {
  int64_t channels;  ///< least number, in and out
  int64_t pixels;    ///< of a picture, at least
};
#if defined(__AVX512BF16__)
constexpr WinogradLimit kWinogradLimits[] = {{64, 64}, {32, 576}};
#else
constexpr WinogradLimit kWinogradLimits[] = {{32, 64}};
#endif

/// Looks at one picture only: the same picture takes the same way, and comes out the same to the bit, in a batch of any
/// size.
inline const char* reject_winograd_shape(const OpCall& call) {
  const Shape &w = call.inputs[1].shape, &y = call.output.shape;
  if (w[2] != 3 || w[3] != 3) return "the kernel is not 3 × 3";
  if (call.as<Conv2dAttrs>().stride != 1) return "the stride is not 1";
  for (const WinogradLimit& limit : kWinogradLimits)
    if (std::min(w[0], w[1]) >= limit.channels && y[1] * y[2] >= limit.pixels) return nullptr;
  return "direct is faster for so few channels or pixels";
}

}  // namespace
}  // namespace easel::ops
