// The innermost loop of linear and conv2d: a tile of rows × one panel of columns, accumulated in registers.
//
// Rows come as pointers, so they need no common stride: a tile may straddle lines of a picture. The sum runs over
// segments, equally far apart in every row: one for a linear layer, one per kernel row for a convolution.
// Panels hold 32-bit words [K][columns] for f32 weights; for 16-bit weights a word is two neighbours along K,
// [⌈K/2⌉][columns][2], which is what the bf16 dot product reads and what splits cheaply into floats.

namespace easel::ops {
namespace {

/// How the words of a panel enter the sum.
enum class Words { f32, bf16_as_f32, f16_as_f32, bf16_dot };

/// Which elements of a row a call sums: `segments` runs of `count` words, `stride` words apart.
struct Walk {
  int64_t segments = 1, stride = 0, count = 0;
};

/// Rows of a tile of `vectors` vectors. Narrow tiles take more rows, to have enough independent sums in flight.
constexpr int tile_rows(int vectors) { return kPanelVectors == 4 ? (vectors > 2 ? 6 : 8) : (kW == 8 ? 6 : 4); }
constexpr int kMaxTileRows = 8;
/// Floats of a tile's sums, at most.
constexpr int kTileFloats = kMaxTileRows * kPanel;

/// sums: [rows][vectors·kW]; `add` continues earlier sums. `a` are the row pointers, `offset` words behind them the
/// walk begins. Elements of A are f32, but pairs of bf16 for Words::bf16_dot.
using TileFunction = void (*)(const float* const* a, int64_t offset, const Walk& walk, const void* panel, float* sums,
                              bool add);

template <Words words, int rows, int vectors>
void tile(const float* const* a, int64_t offset, const Walk& walk, const void* panel, float* sums, bool add) {
  constexpr int width = vectors * kW;
  const float* row[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) row[r] = a[r] + offset;
  F acc[rows][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) acc[r][v] = add ? load(sums + r * width + v * kW) : zero();

  const uint32_t* b = static_cast<const uint32_t*>(panel);
  for (int64_t s = 0; s < walk.segments; ++s) {
    if constexpr (words == Words::f32) {
      for (int64_t k = 0; k < walk.count; ++k, b += width) {
        F bv[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) bv[v] = load(reinterpret_cast<const float*>(b) + v * kW);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
          const F x = splat(row[r][k]);
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) acc[r][v] = fma(x, bv[v], acc[r][v]);
        }
      }
    } else if constexpr (words == Words::bf16_dot) {
#if defined(__AVX512BF16__)
      for (int64_t k = 0; k < walk.count; ++k, b += width) {
        __m512bh bv[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) bv[v] = (__m512bh)_mm512_loadu_si512(b + v * kW);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
          float pair;  // may lie at an odd element of a bf16 row
          std::memcpy(&pair, row[r] + k, sizeof pair);
          const __m512bh x = (__m512bh)_mm512_castps_si512(splat(pair));
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) acc[r][v] = _mm512_dpbf16_ps(acc[r][v], x, bv[v]);
        }
      }
#endif
    } else {
      // An odd count leaves the last word's second half out: the row may end there.
      for (int64_t k = 0; k < walk.count; k += 2, b += width) {
        F even[vectors], odd[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v)
          words == Words::bf16_as_f32 ? split_bf16(b + v * kW, even[v], odd[v])
                                      : split_f16(b + v * kW, even[v], odd[v]);
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
          const F x = splat(row[r][k]);
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) acc[r][v] = fma(x, even[v], acc[r][v]);
        }
        if (k + 1 == walk.count) continue;
#pragma GCC unroll 8
        for (int r = 0; r < rows; ++r) {
          const F x = splat(row[r][k + 1]);
#pragma GCC unroll 4
          for (int v = 0; v < vectors; ++v) acc[r][v] = fma(x, odd[v], acc[r][v]);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) row[r] += walk.stride;
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) store(sums + r * width + v * kW, acc[r][v]);
}

/// kTiles<words>[vectors - 1][rows - 1]
template <Words words, size_t... i>
constexpr auto tile_table(std::index_sequence<i...>) {
  return std::array<TileFunction, sizeof...(i)>{
      tile<words, std::min<int>(i % kMaxTileRows + 1, tile_rows(i / kMaxTileRows + 1)), i / kMaxTileRows + 1>...};
}
template <Words words>
constexpr std::array<TileFunction, kPanelVectors * kMaxTileRows> kTiles =
    tile_table<words>(std::make_index_sequence<kPanelVectors * kMaxTileRows>());

template <Words words>
TileFunction tile_function(int rows, int vectors) {
  return kTiles<words>[static_cast<size_t>((vectors - 1) * kMaxTileRows + rows - 1)];
}

/// Words of 16-bit pairs → floats, [2·words][columns]: once per block of rows instead of once per tile.
template <Words words>
void expand_panel(const uint32_t* source, int64_t count, int vectors, float* target) {
  const int width = vectors * kW;
  for (int64_t k = 0; k < count; ++k, source += width, target += 2 * width)
    for (int v = 0; v < vectors; ++v) {
      F even, odd;
      words == Words::bf16_as_f32 ? split_bf16(source + v * kW, even, odd) : split_f16(source + v * kW, even, odd);
      store(target + v * kW, even);
      store(target + width + v * kW, odd);
    }
}

}  // namespace
}  // namespace easel::ops
