// Rows of the left matrix in the form the tile wants: as they are, or as pairs of bf16.

namespace easel::ops {
namespace {

/// Words of A that `elements` floats become. A pair of bf16 is one word; the last one may be half empty.
constexpr int64_t staged_words(Words words, int64_t elements) {
  return words == Words::bf16_dot ? (elements + 1) / 2 : elements;
}

/// count floats → staged_words(count) words.
template <Words words>
void stage_row(const float* source, int64_t count, float* target) {
  if constexpr (words != Words::bf16_dot) {
    std::memcpy(target, source, static_cast<size_t>(count) * 4);
  } else {
#if defined(__AVX512BF16__)
    int64_t i = 0;
    for (; i + 32 <= count; i += 32) store_bf16(target + i / 2, load(source + i), load(source + i + 16));
    if (const int64_t rest = count - i; rest > 0) {
      alignas(64) float last[16];
      store_bf16(last, simd::load_n(source + i, std::min<int64_t>(rest, 16)),
                 simd::load_n(source + i + 16, std::max<int64_t>(rest - 16, 0)));
      std::memcpy(target + i / 2, last, static_cast<size_t>(rest + 1) / 2 * 4);
    }
#endif
  }
}

/// The same for a row that is bf16 already.
template <Words words>
void stage_row(const uint16_t* source, int64_t count, float* target) {
  static_assert(words == Words::bf16_dot);
  std::memcpy(target, source, static_cast<size_t>(count) * 2);
  if (count % 2) reinterpret_cast<uint16_t*>(target)[count] = 0;
}

/// How a weight enters the sum on this instruction set. Blocks are expanded to what the sum takes, floats where there
/// is no dot product.
inline Words words_of(const ArgType& w) {
  const DType dtype = w.dtype;
#if defined(__AVX512BF16__)
  if (dtype == DType::bf16) return Words::bf16_dot;
#endif
  if (w.encoding != BlockFormat::none) return Words::f32;
  return dtype == DType::f32 ? Words::f32 : dtype == DType::f16 ? Words::f16_as_f32 : Words::bf16_as_f32;
}

/// Elements of A per word of the panel, as Pieces counts them.
constexpr int64_t elements_per_word(Words words) { return words == Words::f32 || words == Words::bf16_dot ? 1 : 2; }

/// Tasks that keep this many threads evenly busy.
constexpr int64_t tasks_for(int threads) { return 32 + 4 * int64_t{threads}; }

/// Rows of a block at most, where rows × panels is `work`: small products are cut finer, for every thread to have some.
constexpr int64_t block_rows_for(int64_t work, int threads) {
  return std::clamp<int64_t>(work / (2 * threads), 24, kBlockRows);
}

/// Size of the blocks that `rows` are cut into: whole tiles, at most `most`, chosen so that the threads, each taking
/// the next block when it is done, end together.
inline int64_t balanced_block(int64_t rows, int64_t most, int threads) {
  constexpr int64_t kTile = tile_rows(kPanelVectors);
  const auto whole = [](int64_t n) { return (n + kTile - 1) / kTile * kTile; };
  if (rows <= most * threads) {
    const int64_t blocks = std::max<int64_t>(1, (rows + most - 1) / most);
    return whole((rows + blocks - 1) / blocks);
  }
  int64_t best = std::max(kTile, most / kTile * kTile), best_time = INT64_MAX;
  for (int64_t size = best; size >= kTile && size * 3 >= most * 2; size -= kTile) {
    const int64_t full = rows / size, left = full % threads;
    // The rest, if any, is the last to begin: beside others, or alone.
    const int64_t time = full / threads * size + (left > 0 ? size : whole(rows % size));
    if (time < best_time) best_time = time, best = size;
  }
  return best;
}

/// Why the weight or the types of a call do not suit this unit; nullptr if they do. Units with the bf16 dot product
/// leave other weights to the plain AVX-512 ones; they also take, and make, bf16 activations where it is said so. side:
/// index of a second left matrix, whose weight follows it.
inline const char* reject_types(const OpCall& call, [[maybe_unused]] bool narrow_in, [[maybe_unused]] bool narrow_out,
                                size_t side = SIZE_MAX) {
  const ArgType& w = call.inputs[1];
#if defined(__AVX512BF16__)
  if (w.dtype != DType::bf16) return "the weight is not bf16";
#endif
  if (w.dtype != DType::f32 && w.dtype != DType::f16 && w.dtype != DType::bf16)
    return "the weight is not f32, f16 or bf16";
  if (!w.constant || !w.contiguous()) return "the weight is not a constant";
#if !defined(__AVX512BF16__)
  narrow_in = narrow_out = false;
#endif
  const auto fits = [](DType dtype, bool narrow) { return dtype == DType::f32 || (narrow && dtype == DType::bf16); };
  if (!fits(call.output.dtype, narrow_out)) return "the result is not f32";
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const ArgType& type = call.inputs[i];
    if (i == 1) continue;
    if (side != SIZE_MAX && i == side + 1) {
      if (type.dtype != w.dtype || !type.constant || !type.contiguous()) return "the second weight is not as the first";
      continue;
    }
    if (!fits(type.dtype, narrow_in && (i == 0 || i == side))) return "activations are not f32";
    if (type.shape.rank() > 0 && type.strides[-1] != 1 && type.shape[-1] > 1) return "the last axis is strided";
  }
  return nullptr;
}

/// body.operator()<words>() for the one of the unit's kinds of words.
template <typename Body>
void with_words(Words words, Body&& body) {
  switch (words) {
#if defined(__AVX512BF16__)
    case Words::bf16_dot: return body.template operator()<Words::bf16_dot>();
    default: return;
#else
    case Words::f32: return body.template operator()<Words::f32>();
    case Words::f16_as_f32: return body.template operator()<Words::f16_as_f32>();
    case Words::bf16_as_f32: return body.template operator()<Words::bf16_as_f32>();
    case Words::bf16_dot: return;
#endif
  }
}

/// body.operator()<words, X>(), where X is the type of x's elements: float, or uint16_t for bf16.
template <typename Body>
void with_input(Words words, [[maybe_unused]] DType x, Body&& body) {
  with_words(words, [&]<Words kind>() {
    if constexpr (kind == Words::bf16_dot)
      if (x == DType::bf16) return body.template operator()<kind, uint16_t>();
    body.template operator()<kind, float>();
  });
}

}  // namespace
}  // namespace easel::ops
