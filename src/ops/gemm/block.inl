// A block of rows against a range of panels: the sums of tile.inl in pieces that fit the cache, and what follows them.
//
// Order of the loops: panel, piece of K, tile of rows. One piece of a panel (at most kPieceWords · kPanel words) stays
// in the L2 cache while all rows of the block pass by it; the rows themselves may come from further away, since each of
// their elements is used for a whole panel. Sums wait between pieces in a small buffer, never in the output, which
// may share memory with the residual.

namespace easel::ops {
namespace {

constexpr int kBlockRows = 192;
constexpr int64_t kPieceWords = 1280;

/// Rows of the left matrix with what belongs to them. Null pointers where the call has no such argument.
struct BlockRows {
  int count = 0;
  const float* a[kBlockRows];  ///< words of A: floats, or pairs of bf16
  void* out[kBlockRows];
  const float* residual[kBlockRows];
  const float* channel_bias[kBlockRows];
  const float* side[kBlockRows];  ///< words of the second left matrix, where there is one
};

/// A second product that goes into the same sums: its right matrix, packed as the first one's, in one piece.
struct SideProduct {
  const Panels& panels;
  const uint32_t* packed;
  int64_t count;  ///< elements of a row of the left matrix, as Pieces counts them
};

struct Piece {
  int64_t offset = 0;  ///< in a row
  Walk walk;
  int64_t word = 0;  ///< in a panel
};

constexpr int kMaxPieces = 256;

/// How K is cut. Depends on the shape alone, as the order of additions must.
struct Pieces {
  int count = 0;
  Piece list[kMaxPieces];

  /// `segments` runs of `run` elements of A, `stride` apart; `per_word` elements of A share a word of the panel. Runs
  /// are cut at multiples of `whole` elements.
  Pieces(int64_t segments, int64_t run, int64_t stride, int64_t per_word, int64_t whole = 16) {
    const int64_t panel_run = (run + per_word - 1) / per_word;
    if (run > kPieceWords) {
      int64_t parts = (run + kPieceWords - 1) / kPieceWords;
      parts = std::max<int64_t>(1, std::min<int64_t>(parts, kMaxPieces / std::max<int64_t>(1, segments)));
      const int64_t part = ((run + parts - 1) / parts + whole - 1) / whole * whole;
      for (int64_t s = 0; s < segments; ++s)
        for (int64_t k = 0; k < run; k += part)
          list[count++] = {s * stride + k, {1, 0, std::min(part, run - k)}, s * panel_run + k / per_word};
    } else {
      int64_t group = std::max<int64_t>(1, kPieceWords / std::max<int64_t>(1, run));
      group = std::max(group, (segments + kMaxPieces - 1) / kMaxPieces);
      for (int64_t s = 0; s < segments; s += group)
        list[count++] = {s * stride, {std::min(group, segments - s), stride, run}, s * panel_run};
    }
  }
  /// Words of the longest piece in elements of A.
  int64_t longest() const {
    int64_t longest = 0;
    for (int i = 0; i < count; ++i) longest = std::max(longest, list[i].walk.segments * list[i].walk.count);
    return longest;
  }
};

/// Scratch of one thread: the sums, then a panel piece expanded to what the tiles read. In bytes. side:
/// SideProduct::count.
inline int64_t block_scratch_bytes(Words words, const Pieces& pieces, bool blocks = false, int64_t side = 0) {
  const int64_t sums = (kBlockRows / 4 + 1) * kTileFloats;
  const bool expand = blocks || words == Words::bf16_as_f32 || words == Words::f16_as_f32;
  return (sums + (expand ? (std::max(pieces.longest(), side) + 2 * kMaxPieces) * kPanel : 0)) * 4;
}

/// blocks: the weight is packed in blocks.
template <Words words, bool blocks = false>
void multiply_block(const BlockRows& rows, const Pieces& pieces, const Panels& panels, const uint32_t* packed,
                    int64_t first, int64_t last, const Epilogue& epilogue, std::byte* scratch,
                    const SideProduct* side = nullptr) {
  float* sums = reinterpret_cast<float*>(scratch);
  constexpr bool converts = words == Words::bf16_as_f32 || words == Words::f16_as_f32;
  float* expanded = sums + (kBlockRows / 4 + 1) * kTileFloats;
  // Expanding pays once a few tiles share the result; a few rows are bound by memory and expand in registers.
  const bool expand = converts && rows.count > 2 * tile_rows(kPanelVectors);
  for (int64_t panel = first; panel < last; ++panel) {
    const int vectors = panels.vectors(panel);
    const int tile_height = tile_rows(vectors);
    const int products = pieces.count + (side ? 1 : 0);
    for (int i = 0; i < products; ++i) {
      const bool second = i == pieces.count;
      const Piece piece = second ? Piece{0, {1, 0, side->count}, 0} : pieces.list[i];
      const float* const* a = second ? rows.side : rows.a;
      const void* b_tile = expanded;
      if (blocks && !second) {
        if constexpr (blocks)
          expand_blocks<words>(panels, panel, reinterpret_cast<const uint8_t*>(packed), piece.word, piece.walk.count,
                               expanded);
      } else {
        const uint32_t* b = (second ? side->packed + side->panels.offset(panel) : packed + panels.offset(panel)) +
                            piece.word * vectors * kW;
        if (!expand) b_tile = b;
        if constexpr (converts)
          if (expand) {
            const int64_t count = piece.walk.segments * ((piece.walk.count + 1) / 2);
            expand_panel<words>(b, count, vectors, expanded);
          }
      }
      for (int r = 0, t = 0; r < rows.count; r += tile_height, ++t) {
        const int height = std::min(tile_height, rows.count - r);
        float* tile_sums = sums + (products > 1 ? t * kTileFloats : 0);
        const TileFunction function =
            converts && expand ? tile_function<Words::f32>(height, vectors) : tile_function<words>(height, vectors);
        function(a + r, piece.offset, piece.walk, b_tile, tile_sums, i > 0);
        if (i + 1 == products) finish_tile(epilogue, rows, r, height, tile_sums, panels, panel);
      }
    }
  }
  if (epilogue.stream) end_stores();
}

}  // namespace
}  // namespace easel::ops
