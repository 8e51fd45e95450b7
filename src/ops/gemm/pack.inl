// The packed layout of weights that tile.inl reads.
//
// Columns (outputs) are cut into panels of kPanel, the last one into as many vectors as it needs; zeros fill it up.
// A panel is contiguous: words [taps][⌈C/pair⌉][columns], pair = 2 for 16-bit weights. A linear layer has one tap; a
// convolution has kh·kw, so a kernel row is one run along K of a picture whose channels are innermost.
// Gated layers (geglu) fill the first half of a panel with columns of a, the second with the same columns of g.
//
// Weights in blocks stay in blocks: a panel is their bytes, [bytes of a row][columns], so that one instruction does to
// the blocks of a vector of columns what block_decode.h does to one (blocks.inl). That is as large as it was in the
// file.

namespace easel::ops {
namespace {

/// Measures of a packed weight; a linear layer is a convolution with a 1 × 1 kernel.
struct Panels {
  int64_t outputs = 0;   ///< rows of the weight
  int64_t channels = 0;  ///< C, or K of a linear layer
  int64_t taps = 1, kernel_w = 1;
  int64_t pair = 1;                          ///< elements per word
  bool gated = false;                        ///< two halves, a and g
  DType dtype = DType::f32;                  ///< decoded blocks are rounded to this
  BlockFormat encoding = BlockFormat::none;  ///< of the rows

  explicit Panels(const ArgType& w, bool gated_halves = false)
      : outputs(w.shape[0]),
        channels(w.shape[1]),
        pair(w.dtype == DType::f32 ? 1 : 2),
        gated(gated_halves),
        dtype(w.dtype),
        encoding(w.encoding) {
    if (w.shape.rank() == 4) taps = w.shape[2] * w.shape[3], kernel_w = w.shape[3];
  }
  /// Elements along K per tap, padded to whole words.
  int64_t padded_channels() const { return (channels + pair - 1) / pair * pair; }
  int64_t words() const { return taps * padded_channels() / pair; }
  /// Result columns per full panel, and altogether.
  int64_t panel_columns() const { return gated ? kPanel / 2 : kPanel; }
  int64_t columns() const { return gated ? outputs / 2 : outputs; }
  int64_t count() const { return (columns() + panel_columns() - 1) / panel_columns(); }
  int vectors(int64_t panel) const {
    const int64_t left = std::min(columns() - panel * panel_columns(), panel_columns());
    const int vectors = static_cast<int>((left + kW - 1) / kW);
    return gated ? 2 * vectors : vectors;
  }
  /// Offset of a panel, in words.
  int64_t offset(int64_t panel) const { return panel * words() * kPanel; }
  int64_t bytes() const {
    if (count() == 0) return 0;
    if (encoding != BlockFormat::none) return row_bytes() * ((count() - 1) * kPanel + vectors(count() - 1) * kW);
    return (offset(count() - 1) + words() * vectors(count() - 1) * kW) * 4;
  }
  /// Of weights in blocks: elements that are decoded together, at least a pair; bytes of them, and of a row of a panel,
  /// where an odd row of fp8 gets a zero.
  int64_t step() const { return std::max<int64_t>(2, block_elements(encoding)); }
  int64_t step_bytes() const { return bytes_in_blocks(encoding, step()); }
  int64_t row_bytes() const { return (channels * taps + step() - 1) / step() * step_bytes(); }

  /// Row of the weight that column `i` of a panel holds; -1 for filling.
  int64_t source_row(int64_t panel, int i) const {
    const int half = vectors(panel) * kW / 2;
    const int64_t column = panel * panel_columns() + (gated && i >= half ? i - half : i);
    if (column >= columns()) return -1;
    return gated && i >= half ? column + columns() : column;
  }
};

/// words[i][0 … count) of `width` rows → target[0 … count)[width]. width is a multiple of 4.
inline void transpose_words(const std::byte* const* rows, int64_t count, int width, uint32_t* target) {
  using Four = uint32_t __attribute__((vector_size(16)));
  for (int i = 0; i < width; i += 4) {
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
      Four r[4];
      for (int k = 0; k < 4; ++k) std::memcpy(&r[k], rows[i + k] + j * 4, sizeof(Four));
      const Four ab = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5),
                 cd = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
      const Four ef = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7),
                 gh = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
      const Four columns[4] = {__builtin_shufflevector(ab, cd, 0, 1, 4, 5), __builtin_shufflevector(ab, cd, 2, 3, 6, 7),
                               __builtin_shufflevector(ef, gh, 0, 1, 4, 5),
                               __builtin_shufflevector(ef, gh, 2, 3, 6, 7)};
      for (int k = 0; k < 4; ++k) std::memcpy(target + (j + k) * width + i, &columns[k], sizeof(Four));
    }
    for (; j < count; ++j)
      for (int k = 0; k < 4; ++k) std::memcpy(target + j * width + i + k, rows[i + k] + j * 4, 4);
  }
}

/// One panel, a run of channels at a time: rows are brought into the order [taps][channels] and then transposed.
template <typename Element>
void pack_panel(const Panels& p, int64_t panel, const Element* source, uint32_t* target) {
  constexpr int64_t pair = 4 / sizeof(Element), kRun = 32, kTaps = 9;
  const int width = p.vectors(panel) * kW;
  target += p.offset(panel);
  static const Element zeros[kRun] = {};
  const std::byte* rows[kPanel];
  if (p.taps == 1 && p.channels % pair == 0) {
    for (int64_t c = 0; c < p.channels; c += kRun) {
      for (int i = 0; i < width; ++i) {
        const int64_t row = p.source_row(panel, i);
        rows[i] = reinterpret_cast<const std::byte*>(row < 0 ? zeros : source + row * p.channels + c);
      }
      transpose_words(rows, std::min(kRun, p.channels - c) / pair, width, target + c / pair * width);
    }
    return;
  }
  alignas(64) Element buffer[kPanel][kTaps][kRun];
  for (int64_t c = 0; c < p.padded_channels(); c += kRun)
    for (int64_t first = 0; first < p.taps; first += kTaps) {
      const int64_t taps = std::min(kTaps, p.taps - first), run = std::min(kRun, p.channels - c);
      for (int i = 0; i < width; ++i) {
        const int64_t row = p.source_row(panel, i);
        if (row < 0 || run < kRun) std::memset(buffer[i], 0, sizeof buffer[i]);
        if (row < 0) continue;
        const Element* from = source + (row * p.channels + c) * p.taps + first;
        const auto gather = [&](auto count) {
          for (int64_t j = 0; j < run; ++j)
            for (int64_t t = 0; t < count; ++t) buffer[i][t][j] = from[j * p.taps + t];
        };
        taps == kTaps ? gather(std::integral_constant<int64_t, kTaps>{}) : gather(taps);
      }
      for (int64_t t = 0; t < taps; ++t) {
        for (int i = 0; i < width; ++i) rows[i] = reinterpret_cast<const std::byte*>(buffer[i][t]);
        const int64_t words = std::min(kRun, p.padded_channels() - c) / pair;
        transpose_words(rows, words, width, target + ((first + t) * p.padded_channels() + c) / pair * width);
      }
    }
}

/// 16 bytes of each of 16 rows → target[byte][row], `stride` bytes from one to the next.
inline void transpose_bytes(const uint8_t* const* rows, uint8_t* target, int64_t stride) {
  using Row = uint8_t __attribute__((vector_size(16)));
  Row r[16], t[16];
  for (int i = 0; i < 16; ++i) std::memcpy(&r[i], rows[i], 16);
  // Four rounds, each of which interleaves row i with row i + 8.
  const auto round = [](const Row* from, Row* to) {
    for (int i = 0; i < 8; ++i) {
      to[2 * i] = __builtin_shufflevector(from[i], from[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      to[2 * i + 1] =
          __builtin_shufflevector(from[i], from[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
  };
  round(r, t), round(t, r), round(r, t), round(t, r);
  for (int i = 0; i < 16; ++i) std::memcpy(target + i * stride, &r[i], 16);
}

/// One panel of blocks: bytes of the rows side by side.
inline void pack_blocks(const Panels& p, int64_t panel, const uint8_t* source, uint8_t* target) {
  constexpr int64_t kRun = 16;
  const int width = p.vectors(panel) * kW;
  const int64_t row_bytes = p.row_bytes(), source_bytes = bytes_in_blocks(p.encoding, p.channels * p.taps);
  target += panel * row_bytes * kPanel;
  static const uint8_t zeros[kRun] = {};
  for (int first = 0; first < width; first += kRun) {
    const int columns = std::min<int>(kRun, width - first);
    const uint8_t* rows[kRun];
    for (int i = 0; i < columns; ++i) {
      const int64_t row = p.source_row(panel, first + i);
      rows[i] = row < 0 ? nullptr : source + row * source_bytes;
    }
    for (int64_t j = 0; j < row_bytes; j += kRun) {
      uint8_t* out = target + j * width + first;
      if (columns == kRun && j + kRun <= source_bytes) {
        const uint8_t* from[kRun];
        for (int i = 0; i < columns; ++i) from[i] = rows[i] ? rows[i] + j : zeros;
        transpose_bytes(from, out, width);
        continue;
      }
      for (int i = 0; i < columns; ++i)
        for (int64_t k = 0; k < std::min(kRun, row_bytes - j); ++k)
          out[k * width + i] = rows[i] && j + k < source_bytes ? rows[i][j + k] : 0;
    }
  }
}

template <bool gated>
int64_t panel_bytes(const ArgType& type) noexcept {
  return Panels(type, gated).bytes();
}

template <bool gated>
void pack(const ArgType& type, const void* source, void* target, ThreadPool& pool) noexcept {
  const Panels panels(type, gated);
  pool.parallel_for(panels.count(), [&](int64_t panel, int) {
    if (type.encoding != BlockFormat::none)
      pack_blocks(panels, panel, static_cast<const uint8_t*>(source), static_cast<uint8_t*>(target));
    else if (type.dtype == DType::f32)
      pack_panel(panels, panel, static_cast<const uint32_t*>(source), static_cast<uint32_t*>(target));
    else
      pack_panel(panels, panel, static_cast<const uint16_t*>(source), static_cast<uint32_t*>(target));
  });
}

// The name stands for the layout: units with the same panel share packed copies.
#define EASEL_PANEL_NAME (kPanel == 64 ? "panel64" : kPanel == 16 ? "panel16" : "panel8")
#define EASEL_GATED_NAME (kPanel == 64 ? "panel64_gated" : kPanel == 16 ? "panel16_gated" : "panel8_gated")
const PackFormat kPanelFormat = {EASEL_PANEL_NAME, panel_bytes<false>, pack<false>};
const PackFormat kGatedPanelFormat = {EASEL_GATED_NAME, panel_bytes<true>, pack<true>};
#undef EASEL_PANEL_NAME
#undef EASEL_GATED_NAME

}  // namespace
}  // namespace easel::ops
