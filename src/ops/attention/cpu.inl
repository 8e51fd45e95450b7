// Attention in transposed flash form. Queries lie along the vector: Sᵀ = K·Qᵀ and Oᵀ = Vᵀ·Pᵀ, so that a head size of 40
// wastes no lane and softmax needs no horizontal operation. A task takes one block of queries of one head through all
// its keys, a block of keys at a time, keeping per query the largest score m, the sum l of exp(score - m) and the
// unnormalized output, each rescaled when m grows (Dao et al. 2022; Milakov & Gimelshein 2018).
//
// Both products are the same loop: a tile of kRows rows × kVectors vectors of queries stays in registers, each step
// broadcasts kRows numbers and multiplies them into one row of [·, queries]. With bf16 a step takes a pair of numbers.
//
// First K and V of some heads are packed, rounded to pairs for bf16: K as [T, units(D)], V as [units(T), D]. Then the
// query blocks of these heads run in parallel. Everything is cut by shape alone.
#pragma once

#include <cstring>
#include <type_traits>

#include "ops/attention/vec.inl"

namespace easel::ops {
namespace {

#if defined(__AVX512BF16__)
constexpr bool kPairs = true;
#else
constexpr bool kPairs = false;
#endif
constexpr int kRows = kLanes == 16 && !kPairs ? 5 : 6;
/// Vectors of a full tile: with 32 registers 6×4 sums fit beside the operands, with 16 only 6×2 do.
constexpr int kVectors = kLanes == 16 ? 4 : 2;
constexpr int kQueryBlock = 64;
constexpr int kKeyBlock = 240;  ///< at most
/// Depth up to which Qᵀ is read at once; beyond, it would fall out of the first-level cache between tiles.
constexpr int64_t kDepth = 192;
constexpr int64_t kDepthBlock = 128;
/// Packed keys and values of at most this many bytes (or one head) exist at a time.
constexpr int64_t kPackedBytes = int64_t{16} << 20;

constexpr int64_t units(int64_t n) { return kPairs ? (n + 1) / 2 : n; }
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// Sizes of a call and of its parts of the scratch memory, in floats.
struct Plan {
  int64_t batch, heads, queries, keys, head_size;
  bool shared;             ///< one batch of keys and values serves all
  int64_t k_row, v_row;    ///< floats per row of packed K and V
  int64_t k_size, v_size;  ///< packed K and V of one head
  int64_t slots, group;    ///< heads of K and V; how many are packed at a time
  int64_t blocks;          ///< query blocks per head
  int64_t key_block;
  int64_t q_size, s_size, o_size, work_size;  ///< of one thread

  explicit Plan(const OpCall& call) noexcept {
    const Shape &q = call.inputs[0].shape, &k = call.inputs[1].shape;
    heads = call.as<AttentionAttrs>().heads;
    batch = q[0];
    queries = q[1];
    keys = k[1];
    head_size = q[2] / heads;
    shared = k[0] == 1;
    // Rows a multiple of 512 bytes apart would all fall into the same few sets of the first-level cache.
    k_row = units(head_size) + (units(head_size) % 128 == 0 ? 16 : 0);
    v_row = head_size + (head_size % 128 == 0 ? 16 : 0);
    k_size = round(keys * k_row);
    v_size = round(units(keys) * v_row);
    slots = (shared ? 1 : batch) * heads;
    const int64_t fitting = kPackedBytes / (4 * (k_size + v_size));
    group = smaller(slots, fitting < 1 ? 1 : fitting);
    blocks = ceil_div(queries, kQueryBlock);
    // Scores of half the keys stay in the first-level cache; but the output of deep heads, which does not, should be
    // gone through less often.
    key_block = kPairs || units(head_size) > kDepth ? kKeyBlock : kKeyBlock / 2;
    q_size = round(units(head_size) * kQueryBlock);
    s_size = kKeyBlock * kQueryBlock;
    o_size = round((head_size + 1) * kQueryBlock);
    work_size = q_size + s_size + o_size + 3 * kQueryBlock;
  }
  /// To whole cache lines, and one more, so that equal parts do not lie at equal offsets of a page.
  static int64_t round(int64_t floats) noexcept { return (floats + 15) / 16 * 16 + 16; }
};

/// Working memory of one thread. The block's queries form `groups` groups of kV vectors each.
struct Block {
  float *q, *s, *o;      ///< [groups][units(D)][kV·kLanes], [groups][kKeyBlock][…], [groups][D][…]
  float *m, *l, *decay;  ///< [groups·kV·kLanes]: largest score, sum of weights, factor for what came before
  int groups;
  float factor;  ///< |scale|·log2(e); the scale's sign is in q
  bool causal;
  int64_t first_query, query_count;
};

/// sums[r] += a(i, r) · b[i] over `count` steps, a(i, r) = a[i + r·stride] (kAcross) or a[i·stride + r].
template <int kR, int kV, bool kAcross>
[[gnu::always_inline]] inline void accumulate(Vec (&sums)[kR][kV], const float* a, int64_t stride, const float* b,
                                              int64_t count) {
  for (int64_t i = 0; i < count; ++i, b += kV * kLanes) {
    Vec row[kV];
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      const Vec x = broadcast(kAcross ? a[r * stride + i] : a[i * stride + r]);
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) sums[r][v] = dot(sums[r][v], x, row[v]);
    }
  }
}

/// Calls body(integral_constant<int, rows>) for 1 ≤ rows ≤ kR.
template <int kR, typename Body>
[[gnu::always_inline]] inline void with_rows(int64_t rows, Body&& body) {
  if constexpr (kR > 0) {
    if (rows == kR)
      body(std::integral_constant<int, kR>());
    else
      with_rows<kR - 1>(rows, body);
  }
}

/// Scores of kR keys from `key` on for one group of queries, which start at query `query`. Depth comes in parts; the
/// last part also hides what causal queries must not see and raises the column maxima in m.
template <int kR, int kV>
void score_tile(const float* k, int64_t k_row, const float* q, int64_t depth, float* s, float* m, bool first, bool last,
                bool mask, int64_t key, int64_t query) {
  constexpr int kWidth = kV * kLanes;
  Vec sums[kR][kV];
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) sums[r][v] = Vec{};
  accumulate<kR, kV, true>(sums, k, k_row, q, depth);
  // Parts are summed apart from each other: shorter chains of additions round less.
  if (!first) {
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) sums[r][v] += load(s + r * kWidth + v * kLanes);
  }
  if (last && mask) {
    Vec lane;
    for (int i = 0; i < kLanes; ++i) lane[i] = static_cast<float>(i);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) {
        const Vec hidden_below = broadcast(static_cast<float>(key + r - query - v * kLanes));
        sums[r][v] = lane < hidden_below ? broadcast(-__builtin_inff()) : sums[r][v];
      }
  }
  if (last) {
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      Vec top = load(m + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r) top = max(sums[r][v], top);
      store(m + v * kLanes, top);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) store(s + r * kWidth + v * kLanes, sums[r][v]);
}

/// Turns scores [count, width] into weights 2^(factor·(s - m)), as pairs of keys for bf16, and updates l and decay.
/// m holds the new maxima on entry, decay the old ones.
template <int kV>
void weigh(float* s, int64_t count, float factor, const float* m, float* l, float* decay) {
  constexpr int kWidth = kV * kLanes;
  const Vec c = broadcast(factor);
  Vec top[kV], total[kV] = {};
#pragma GCC unroll 8
  for (int v = 0; v < kV; ++v) {
    top[v] = load(m + v * kLanes);
    const Vec before = exp2<Exp::exact>((load(decay + v * kLanes) - top[v]) * c);
    store(decay + v * kLanes, before);
    store(l + v * kLanes, load(l + v * kLanes) * before);
  }
  // Subtracting before multiplying is exact near the maximum however large the scores are, and never above zero.
#if defined(__AVX512BF16__)
  float* out = s;
  for (int64_t j = 0; j < count; j += 2, out += kWidth)
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      const float* in = s + j * kWidth + v * kLanes;
      const Vec low = exp2<Exp::rough>((load(in) - top[v]) * c);
      Vec high{};
      if (j + 1 < count) high = exp2<Exp::rough>((load(in + kWidth) - top[v]) * c);
      total[v] += low + high;
      store(out + v * kLanes, pair(low, high));
    }
#else
  for (int64_t j = 0; j < count; ++j, s += kWidth)
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) {
      const Vec weight = exp2<Exp::fine>((load(s + v * kLanes) - top[v]) * c);
      total[v] += weight;
      store(s + v * kLanes, weight);
    }
#endif
#pragma GCC unroll 8
  for (int v = 0; v < kV; ++v) store(l + v * kLanes, load(l + v * kLanes) + total[v]);
}

/// o[r] = o[r]·decay + Σ weights·values for kR channels of one group. The block's sum is taken apart from what came
/// before, which keeps rounding errors small over thousands of keys.
template <int kR, int kV>
void output_tile(const float* v_rows, int64_t v_row, const float* weights, int64_t count, float* o,
                 const float* decay) {
  constexpr int kWidth = kV * kLanes;
  Vec sums[kR][kV];
#pragma GCC unroll 8
  for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kV; ++v) sums[r][v] = Vec{};
  accumulate<kR, kV, false>(sums, v_rows, v_row, weights, count);
#pragma GCC unroll 8
  for (int v = 0; v < kV; ++v) {
    const Vec before = load(decay + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      float* p = o + r * kWidth + v * kLanes;
      store(p, fma(load(p), before, sums[r][v]));
    }
  }
}

/// Takes a block of queries through the keys key … key+count-1 of one head.
template <int kV>
void attend_keys(const Plan& plan, const Block& block, const float* k, const float* v, int64_t key, int64_t count) {
  constexpr int kWidth = kV * kLanes;
  const int64_t depth = units(plan.head_size), step = depth <= kDepth ? depth : kDepthBlock;
  const bool mask = block.causal && key + count - 1 > block.first_query;
  std::memcpy(block.decay, block.m, sizeof(float) * kWidth * block.groups);
  for (int64_t d = 0; d < depth; d += step) {
    const int64_t part = smaller(step, depth - d);
    for (int64_t j = 0; j < count; j += kRows)
      with_rows<kRows>(smaller(kRows, count - j), [&](auto rows) {
        for (int g = 0; g < block.groups; ++g)
          score_tile<rows(), kV>(k + (key + j) * plan.k_row + d, plan.k_row, block.q + (g * depth + d) * kWidth, part,
                                 block.s + (g * kKeyBlock + j) * kWidth, block.m + g * kWidth, d == 0,
                                 d + part == depth, mask, key + j, block.first_query + g * kWidth);
      });
  }
  for (int g = 0; g < block.groups; ++g)
    weigh<kV>(block.s + g * kKeyBlock * kWidth, count, block.factor, block.m + g * kWidth, block.l + g * kWidth,
              block.decay + g * kWidth);
  for (int64_t d = 0; d < plan.head_size; d += kRows)
    with_rows<kRows>(smaller(kRows, plan.head_size - d), [&](auto rows) {
      for (int g = 0; g < block.groups; ++g)
        output_tile<rows(), kV>(v + units(key) * plan.v_row + d, plan.v_row, block.s + g * kKeyBlock * kWidth,
                                units(count), block.o + (g * plan.head_size + d) * kWidth, block.decay + g * kWidth);
    });
}

/// An argument in memory: f32, or bf16 in units that work with pairs.
struct Rows {
  const std::byte* data;
  int64_t stride;  ///< elements between rows
  bool narrow;     ///< bf16
  const float* floats(int64_t row) const { return reinterpret_cast<const float*>(data) + row * stride; }
  const uint16_t* halves(int64_t row) const { return reinterpret_cast<const uint16_t*>(data) + row * stride; }
};

/// Qᵀ times `sign` into block.q, with zeros for queries beyond the last.
template <int kV>
void load_queries(const Plan& plan, const Block& block, const Rows& q, float sign) {
  constexpr int kWidth = kV * kLanes;
  const int64_t d_size = plan.head_size;
  for (int g = 0; g < block.groups; ++g) {
    if (q.narrow) {
      // Pairs of neighbouring channels are words already; their sign is positive (see reject()).
      float* words = block.q + g * units(d_size) * kWidth;
      const int64_t count = smaller(kWidth, block.query_count - g * kWidth);
      if (count < kWidth) std::memset(words, 0, sizeof(float) * units(d_size) * kWidth);
      if (count > 0)
        transpose(reinterpret_cast<const float*>(q.halves(g * kWidth)), q.stride / 2, count, units(d_size), words,
                  kWidth);
      continue;
    }
    // bf16 pairs neighbouring channels, so these meet first as whole rows in the memory of the output.
    float* rows = kPairs ? block.o : block.q + g * d_size * kWidth;
    const int64_t count = smaller(kWidth, block.query_count - g * kWidth);
    if (count < kWidth) std::memset(rows, 0, sizeof(float) * d_size * kWidth);
    if (count > 0) transpose(q.floats(g * kWidth), q.stride, count, d_size, rows, kWidth);
    if (sign != 1)
      for (int64_t i = 0; i < d_size * kWidth; i += kLanes) store(rows + i, load(rows + i) * broadcast(sign));
#if defined(__AVX512BF16__)
    if (d_size % 2) std::memset(rows + d_size * kWidth, 0, sizeof(float) * kWidth);
    for (int64_t u = 0; u < units(d_size); ++u)
      for (int i = 0; i < kWidth; i += kLanes) {
        const float* in = rows + 2 * u * kWidth + i;
        store(block.q + (g * units(d_size) + u) * kWidth + i, pair(load(in), load(in + kWidth)));
      }
#endif
  }
}

/// O / l, transposed into y, whose rows (queries) are y_row elements apart, f32 or bf16.
template <int kV>
void store_outputs(const Plan& plan, const Block& block, std::byte* y, int64_t y_row, bool narrow) {
  constexpr int kWidth = kV * kLanes;
  for (int g = 0; g < block.groups; ++g) {
    const int64_t count = smaller(kWidth, block.query_count - g * kWidth);
    if (count <= 0) break;
    float* o = block.o + g * plan.head_size * kWidth;
    Vec norm[kV];
    for (int v = 0; v < kV; ++v) norm[v] = broadcast(1) / load(block.l + g * kWidth + v * kLanes);
    for (int64_t d = 0; d < plan.head_size; ++d)
      for (int v = 0; v < kV; ++v) store(o + d * kWidth + v * kLanes, load(o + d * kWidth + v * kLanes) * norm[v]);
    if (!narrow) {
      transpose(o, kWidth, plan.head_size, count, reinterpret_cast<float*>(y) + g * kWidth * y_row, y_row);
      continue;
    }
#if defined(__AVX512BF16__)
    for (int64_t u = 0; u < units(plan.head_size); ++u)
      for (int i = 0; i < kWidth; i += kLanes) {
        const float* in = o + 2 * u * kWidth + i;
        store(o + u * kWidth + i, pair(load(in), load(in + kWidth)));
      }
    float* words = reinterpret_cast<float*>(reinterpret_cast<uint16_t*>(y) + g * kWidth * y_row);
    transpose(o, kWidth, units(plan.head_size), count, words, y_row / 2);
#endif
  }
}

struct Head {
  Rows q;
  const float *k, *v;  ///< packed
  std::byte* y;
  int64_t y_row;
  bool narrow;  ///< y is bf16
  float scale;
};

template <int kV>
void attend(const Plan& plan, Block block, const Head& head) {
  constexpr int kWidth = kV * kLanes;
  block.groups = static_cast<int>(ceil_div(block.query_count, kWidth));
  // A negative scale turns the largest score into the smallest, so its sign goes into Q. A zero must not meet -inf.
  const float size = head.scale < 0 ? -head.scale : head.scale;
  block.factor = size == 0 ? 1.0f : size * 1.44269504f;
  load_queries<kV>(plan, block, head.q, head.scale < 0 ? -1.0f : size == 0 ? 0.0f : 1.0f);
  const float lowest = -__FLT_MAX__ / (block.factor > 1 ? block.factor : 1.0f);
  for (int i = 0; i < block.groups * kWidth; ++i) {
    // Not -inf: a block whose scores are all -inf must leave zeros behind, not NaN.
    block.m[i] = lowest;
    block.l[i] = 0;
  }
  std::memset(block.o, 0, sizeof(float) * block.groups * plan.head_size * kWidth);
  const int64_t keys = block.causal ? smaller(plan.keys, block.first_query + block.query_count) : plan.keys;
  for (int64_t key = 0; key < keys; key += plan.key_block)
    attend_keys<kV>(plan, block, head.k, head.v, key, smaller(plan.key_block, keys - key));
  store_outputs<kV>(plan, block, head.y, head.y_row, head.narrow);
}

/// Rows `first` … `first+count-1` of one head of K and V; `first` is even.
void pack(const Plan& plan, const Rows& k, const Rows& v, int64_t first, int64_t count, float* k_packed,
          float* v_packed) {
  const int64_t size = plan.head_size;
  k_packed += first * plan.k_row;
  v_packed += units(first) * plan.v_row;
#if defined(__AVX512BF16__)
  const auto mask = [](int64_t n) { return static_cast<__mmask16>((1u << smaller(16, n)) - 1); };
  for (int64_t t = 0; t < count; ++t) {
    if (k.narrow) {
      std::memcpy(k_packed + t * plan.k_row, k.halves(first + t), 2 * size);
      continue;
    }
    for (int64_t d = 0; d < size; d += 16) {
      const __m512 row = _mm512_maskz_loadu_ps(mask(size - d), k.floats(first + t) + d);
      _mm256_mask_storeu_epi16(reinterpret_cast<uint16_t*>(k_packed + t * plan.k_row) + d, mask(2 * plan.k_row - d),
                               (__m256i)_mm512_cvtneps_pbh(row));
    }
  }
  for (int64_t t = 0; t < count; t += 2)
    for (int64_t d = 0; d < size; d += 16) {
      const __mmask16 in = mask(size - d);
      Vec words;
      if (v.narrow) {
        const auto widen = [&](int64_t row) {
          return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, v.halves(first + row) + d));
        };
        const __m512i high = t + 1 < count ? _mm512_slli_epi32(widen(t + 1), 16) : _mm512_setzero_si512();
        words = (Vec)_mm512_or_si512(widen(t), high);
      } else {
        const Vec low = _mm512_maskz_loadu_ps(in, v.floats(first + t) + d);
        const Vec high = t + 1 < count ? _mm512_maskz_loadu_ps(in, v.floats(first + t + 1) + d) : Vec{};
        words = pair(low, high);
      }
      _mm512_mask_storeu_ps(v_packed + t / 2 * plan.v_row + d, in, words);
    }
#else
  for (int64_t t = 0; t < count; ++t) {
    std::memcpy(k_packed + t * plan.k_row, k.floats(first + t), sizeof(float) * size);
    std::memcpy(v_packed + t * plan.v_row, v.floats(first + t), sizeof(float) * size);
  }
#endif
}

const char* reject(const OpCall& call) noexcept {
  const auto& attrs = call.as<AttentionAttrs>();
  const bool whole_pairs = call.output.shape[2] / attrs.heads % 2 == 0;
  for (const ArgType& input : call.inputs) {
    if (input.strides[2] != 1 && input.shape[2] != 1) return "needs neighbouring channels";
    if (input.dtype == DType::f32) continue;
    if (!kPairs || input.dtype != DType::bf16) return "needs f32 inputs";
    if (!whole_pairs || input.strides[1] % 2 != 0 || attrs.scale <= 0) return "bf16 inputs: no whole pairs to read";
  }
  if (call.output.dtype != DType::f32 && !(kPairs && whole_pairs && call.output.dtype == DType::bf16))
    return "cannot make such a result";
  if (kPairs && call.as<AttentionAttrs>().precision != DType::bf16) return "rounds to bf16, but f32 is asked for";
  return nullptr;
}

int64_t scratch_bytes(const OpCall& call, int threads) noexcept {
  const Plan plan(call);
  return 4 * (plan.group * (plan.k_size + plan.v_size) + threads * plan.work_size);
}

void run(const KernelArgs& args) noexcept {
  const OpCall& call = args.call;
  const auto& attrs = call.as<AttentionAttrs>();
  const Plan plan(call);
  const int64_t y_size = size_of(call.output.dtype);
  auto* y = static_cast<std::byte*>(args.output);
  // Rows of input `index` from one batch, row and column on.
  const auto rows = [&](size_t index, int64_t b, int64_t row, int64_t column) {
    const ArgType& type = call.inputs[index];
    const int64_t offset = b * type.strides[0] + row * type.strides[1] + column;
    return Rows{static_cast<const std::byte*>(args.inputs[index]) + offset * size_of(type.dtype), type.strides[1],
                type.dtype == DType::bf16};
  };
  auto* packed = reinterpret_cast<float*>(args.scratch);
  float* work = packed + plan.group * (plan.k_size + plan.v_size);
  const int64_t y_row = plan.heads * plan.head_size;
  constexpr int64_t kPackRows = 256;
  const int64_t parts = ceil_div(plan.keys, kPackRows), per_slot = (plan.shared ? plan.batch : 1) * plan.blocks;

  for (int64_t start = 0; start < plan.slots; start += plan.group) {
    const int64_t count = smaller(plan.group, plan.slots - start);
    args.pool.parallel_for(count * parts, [&](int64_t task, int) {
      const int64_t slot = start + task / parts, first = task % parts * kPackRows;
      const int64_t b = slot / plan.heads, column = slot % plan.heads * plan.head_size;
      float* target = packed + (slot - start) * (plan.k_size + plan.v_size);
      pack(plan, rows(1, b, 0, column), rows(2, b, 0, column), first, smaller(kPackRows, plan.keys - first), target,
           target + plan.k_size);
    });
    args.pool.parallel_for(count * per_slot, [&](int64_t task, int thread) {
      const int64_t slot = start + task / per_slot, rest = task % per_slot;
      const int64_t b = plan.shared ? rest / plan.blocks : slot / plan.heads;
      const int64_t column = slot % plan.heads * plan.head_size;
      // Causal blocks near the end see most keys: they come first, so that no thread waits long for the last one.
      const int64_t first = (plan.blocks - 1 - rest % plan.blocks) * kQueryBlock;
      Block block{};
      block.q = work + thread * plan.work_size;
      block.s = block.q + plan.q_size;
      block.o = block.s + plan.s_size;
      block.m = block.o + plan.o_size;
      block.l = block.m + kQueryBlock;
      block.decay = block.l + kQueryBlock;
      block.causal = attrs.causal;
      block.first_query = first;
      block.query_count = smaller(kQueryBlock, plan.queries - first);
      const float* k_packed = packed + (slot - start) * (plan.k_size + plan.v_size);
      const Head head{rows(0, b, first, column),
                      k_packed,
                      k_packed + plan.k_size,
                      y + ((b * plan.queries + first) * y_row + column) * y_size,
                      y_row,
                      call.output.dtype == DType::bf16,
                      static_cast<float>(attrs.scale)};
      const int64_t vectors = ceil_div(block.query_count, kLanes);
      with_rows<kVectors>(smaller(kVectors, vectors), [&](auto width) { attend<width()>(plan, block, head); });
    });
  }
}

}  // namespace

#if defined(__AVX512BF16__)
EASEL_KERNEL(attention_avx512_bf16)
#else
EASEL_ISA_KERNEL(attention)
#endif
    = {.name = EASEL_ISA_NAME, .isa = kUnitIsa, .reject = reject, .run = run, .scratch_bytes = scratch_bytes};

}  // namespace easel::ops
