// Two passes over memory. The first takes, per chunk of positions, mean and sum of squared deviations of every channel,
// then of every group; chunks are merged in their order, in double. The second normalizes and applies the activation.
// Each pass can also be called alone, on a band of a picture: see bands.h.
#include <cmath>
#include <type_traits>

#include "ops/group_norm/bands.h"
#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/simd.h"

namespace easel::ops {

namespace {

using namespace simd;

constexpr int kBlock = 4;                  // vectors of channels that one sweep over a chunk keeps in registers
constexpr int64_t kSumRows = 64;           // positions summed in f32 before going over to double
constexpr int64_t kChunkElements = 65536;  // 256 KB: a chunk stays in the second-level cache between sweeps

struct Sizes {
  int64_t pictures, positions, channels, groups;
  int64_t chunk, chunks;  // positions in a chunk, chunks in a picture

  explicit Sizes(const OpCall& call) {
    const Shape& shape = call.inputs[0].shape;
    pictures = shape[0];
    positions = product(shape, 1, shape.rank() - 1);
    channels = shape.back();
    groups = call.as<GroupNormAttrs>().groups;
    chunk = std::max<int64_t>(8, kChunkElements / std::max<int64_t>(1, channels));
    chunks = (positions + chunk - 1) / chunk;
  }
  int64_t width() const { return channels / groups; }
  /// A part is a chunk of one of the pictures.
  int64_t first_row(int64_t part) const { return part / chunks * positions + part % chunks * chunk; }
  int64_t rows_of(int64_t part) const { return std::min(chunk, positions - part % chunks * chunk); }
};

struct Moments {
  double mean = 0, squares = 0;  // Σ (x − mean)²
};

// Per-channel moments of `rows` positions, for `live` ≤ kBlock·kLanes channels from x on.
template <typename X>
void channel_moments(const X* x, int64_t rows, int64_t stride, int64_t live, Moments* out) {
  constexpr int64_t kWidth = kBlock * kLanes;
  const auto read = [&](const X* row, int k) {
    return live == kWidth ? load_as(row + k * kLanes, kLanes)
                          : load_as(row + k * kLanes, std::clamp<int64_t>(live - k * kLanes, 0, kLanes));
  };
  // Differences from the mean of the first rows keep their digits where the mean is far from 0.
  Vec shift[kBlock] = {};
  const int64_t lead = std::min<int64_t>(rows, 8);
  for (int64_t r = 0; r < lead; ++r)
    for (int k = 0; k < kBlock; ++k) shift[k] += read(x + r * stride, k);
  for (Vec& s : shift) s = s / static_cast<float>(lead);

  double sums[kWidth] = {}, squares[kWidth] = {};
  for (int64_t begin = 0; begin < rows; begin += kSumRows) {
    const int64_t end = std::min(rows, begin + kSumRows);
    Vec s[kBlock] = {}, q[kBlock] = {};
    for (int64_t r = begin; r < end; ++r)
      for (int k = 0; k < kBlock; ++k) {
        const Vec d = read(x + r * stride, k) - shift[k];
        s[k] += d;
        q[k] += d * d;
      }
    float lanes[2][kWidth];
    std::memcpy(lanes[0], s, sizeof s);
    std::memcpy(lanes[1], q, sizeof q);
    for (int64_t c = 0; c < kWidth; ++c) {
      sums[c] += lanes[0][c];
      squares[c] += lanes[1][c];
    }
  }
  float shifts[kWidth];
  std::memcpy(shifts, shift, sizeof shift);
  const double n = static_cast<double>(rows);
  for (int64_t c = 0; c < live; ++c) out[c] = {shifts[c] + sums[c] / n, squares[c] - sums[c] * sums[c] / n};
}

// Moments of parts[0 … count-1], of n elements each, together.
template <typename Part>
Moments merge(int64_t count, Part&& part) {
  double total = 0, mean = 0, squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto [moments, n] = part(i);
    total += n;
    mean += n * moments.mean;
  }
  mean /= total;
  for (int64_t i = 0; i < count; ++i) {
    const auto [moments, n] = part(i);
    squares += moments.squares + n * (moments.mean - mean) * (moments.mean - mean);
  }
  return {mean, squares};
}

struct Weighted {
  Moments moments;
  double n;
};

// y = act((x − mean) · factor + offset) per channel, the mean's lower digits being part of the offset.
struct Coefficients {
  float *mean, *factor, *offset;
};

// Scratch: moments of each (picture, chunk, group), coefficients of each (picture, channel), and for each thread the
// channel moments of the chunk that it works on.
struct Scratch {
  Moments* groups;
  Moments* channels;
  float* coefficients;

  static int64_t bytes(const Sizes& s, int threads) {
    return static_cast<int64_t>(sizeof(Moments)) * (s.pictures * s.chunks * s.groups + threads * s.channels) +
           static_cast<int64_t>(sizeof(float)) * s.pictures * s.channels * 3;
  }
  Scratch(std::byte* memory, const Sizes& s, int threads)
      : groups(reinterpret_cast<Moments*>(memory)),
        channels(groups + s.pictures * s.chunks * s.groups),
        coefficients(reinterpret_cast<float*>(channels + threads * s.channels)) {}
  Coefficients of_picture(const Sizes& s, int64_t picture) const {
    float* at = coefficients + picture * s.channels * 3;
    return {at, at + s.channels, at + 2 * s.channels};
  }
};

// Of one group, channels begin … end-1.
void find_coefficients(double mean, double variance, double eps, int64_t begin, int64_t end, const float* weight,
                       const float* bias, Coefficients out) {
  const double inverse = 1 / std::sqrt(std::max(variance, 0.0) + eps);
  const auto high = static_cast<float>(mean);
  for (int64_t c = begin; c < end; ++c) {
    out.mean[c] = high;
    out.factor[c] = static_cast<float>(inverse * weight[c]);
    // An infinite weight makes results infinite; its product with the mean's lower digits would make them NaN.
    const double low = std::isinf(weight[c]) ? 0 : (mean - high) * inverse * weight[c];
    out.offset[c] = static_cast<float>(bias[c] - low);
  }
}

// All chunks of group g of one picture together.
Moments merge_chunks(const Sizes& s, const Moments* moments, int64_t g) {
  return merge(s.chunks, [&](int64_t i) {
    const int64_t rows = std::min(s.chunk, s.positions - i * s.chunk);
    return Weighted{moments[i * s.groups + g], static_cast<double>(rows * s.width())};
  });
}

template <Vec (*kFunction)(Vec), typename X, typename Y>
void normalize(const X* x, Y* y, int64_t rows, int64_t channels, Coefficients by) {
  for (int64_t r = 0; r < rows; ++r, x += channels, y += channels) {
    int64_t c = 0;
    const auto at = [&](int64_t i) {
      return kFunction((load_as(x + i, kLanes) - load(by.mean + i)) * load(by.factor + i) + load(by.offset + i));
    };
    for (; c + 2 * kLanes <= channels; c += 2 * kLanes) {
      const Vec first = at(c), second = at(c + kLanes);
      store_as(y + c, first, kLanes);
      store_as(y + c + kLanes, second, kLanes);
    }
    for (; c < channels; c += kLanes) {
      const int64_t n = std::min(kLanes, channels - c);
      const Vec v = (load_as(x + c, n) - load_n(by.mean + c, n)) * load_n(by.factor + c, n) + load_n(by.offset + c, n);
      store_as(y + c, kFunction(v), n);
    }
  }
}

Vec same(Vec x) { return x; }

template <typename X, typename Y>
auto normalizer(Activation activation) {
  switch (activation) {
    case Activation::silu: return normalize<silu, X, Y>;
    case Activation::gelu_erf: return normalize<gelu_erf, X, Y>;
    case Activation::gelu_tanh: return normalize<gelu_tanh, X, Y>;
    case Activation::quick_gelu: return normalize<quick_gelu, X, Y>;
    case Activation::relu: return normalize<relu, X, Y>;
    case Activation::tanh: return normalize<simd::tanh, X, Y>;
    case Activation::none:
    case Activation::geglu:
    case Activation::prelu: break;
  }
  return normalize<same, X, Y>;
}

const char* group_norm_reject(const OpCall& call) noexcept {
  const bool from_moments = group_norm_form(call) == GroupNormForm::coefficients;
  for (const ArgType& input : call.inputs) {
    const bool first = &input == call.inputs.data();
    if (first && from_moments ? input.dtype != DType::f64
                              : input.dtype != DType::f32 && !(first && input.dtype == DType::bf16))
      return "needs f32, or a picture in bf16";
    if (!input.contiguous()) return "needs contiguous rows";
  }
  const DType result = call.output.dtype;
  if (group_norm_form(call) == GroupNormForm::moments) return nullptr;
  return result == DType::f32 || result == DType::bf16 ? nullptr : "the result is neither f32 nor bf16";
}

int64_t group_norm_scratch(const OpCall& call, int threads) noexcept {
  const GroupNormForm form = group_norm_form(call);
  return form == GroupNormForm::whole || form == GroupNormForm::moments ? Scratch::bytes(Sizes(call), threads) : 0;
}

// body(x), where x points to f32 or bf16.
template <typename Body>
void with_picture(const KernelArgs& args, Body&& body) {
  args.call.inputs[0].dtype == DType::bf16 ? body(static_cast<const uint16_t*>(args.inputs[0]))
                                           : body(static_cast<const float*>(args.inputs[0]));
}

// Fills scratch.groups.
template <typename X>
void find_moments(const KernelArgs& args, const X* x, const Sizes& s, const Scratch& scratch) {
  args.pool.parallel_for(s.pictures * s.chunks, [&](int64_t part, int thread) {
    Moments* channels = scratch.channels + thread * s.channels;
    const X* from = x + s.first_row(part) * s.channels;
    for (int64_t c = 0; c < s.channels; c += kBlock * kLanes)
      channel_moments(from + c, s.rows_of(part), s.channels, std::min(kBlock * kLanes, s.channels - c), channels + c);
    const auto rows = static_cast<double>(s.rows_of(part));
    for (int64_t g = 0; g < s.groups; ++g)
      scratch.groups[part * s.groups + g] = merge(s.width(), [&](int64_t i) {
        return Weighted{channels[g * s.width() + i], rows};
      });
  });
}

template <typename CoefficientsOf>
void normalize_all(const KernelArgs& args, const Sizes& s, CoefficientsOf&& of_picture) {
  const auto write = [&](auto* y) {
    with_picture(args, [&]<typename X>(const X* x) {
      const auto normalize_rows =
          normalizer<X, std::remove_pointer_t<decltype(y)>>(args.call.as<GroupNormAttrs>().activation);
      args.pool.parallel_for(s.pictures * s.chunks, [&](int64_t part, int) {
        const int64_t at = s.first_row(part) * s.channels;
        normalize_rows(x + at, y + at, s.rows_of(part), s.channels, of_picture(part / s.chunks));
      });
    });
  };
  args.call.output.dtype == DType::bf16 ? write(static_cast<uint16_t*>(args.output))
                                        : write(static_cast<float*>(args.output));
}

void run_whole(const KernelArgs& args) {
  const Sizes s(args.call);
  const auto& attrs = args.call.as<GroupNormAttrs>();
  const float* weight = static_cast<const float*>(args.inputs[1]);
  const float* bias = static_cast<const float*>(args.inputs[2]);
  const Scratch scratch(args.scratch, s, args.pool.threads());
  with_picture(args, [&](const auto* x) { find_moments(args, x, s, scratch); });
  args.pool.parallel_for(s.pictures, [&](int64_t picture, int) {
    for (int64_t g = 0; g < s.groups; ++g) {
      const Moments whole = merge_chunks(s, scratch.groups + picture * s.chunks * s.groups, g);
      find_coefficients(whole.mean, whole.squares / static_cast<double>(s.positions * s.width()), attrs.eps,
                        g * s.width(), (g + 1) * s.width(), weight, bias, scratch.of_picture(s, picture));
    }
  });
  normalize_all(args, s, [&](int64_t picture) { return scratch.of_picture(s, picture); });
}

void run_moments(const KernelArgs& args) {
  const Sizes s(args.call);
  const Scratch scratch(args.scratch, s, args.pool.threads());
  with_picture(args, [&](const auto* x) { find_moments(args, x, s, scratch); });
  auto* out = static_cast<BandMoments*>(args.output);
  for (int64_t g = 0; g < s.groups; ++g) {
    const Moments band = merge_chunks(s, scratch.groups, g);
    out[g] = {band.mean, band.squares, static_cast<double>(s.positions * s.width())};
  }
}

void run_coefficients(const KernelArgs& args) {
  const auto& attrs = args.call.as<GroupNormAttrs>();
  const auto* bands = static_cast<const BandMoments*>(args.inputs[0]);
  const int64_t channels = args.call.output.shape.back(), width = channels / attrs.groups;
  const int64_t count = args.call.inputs[0].shape[0];
  float* out = static_cast<float*>(args.output);
  for (int64_t g = 0; g < attrs.groups; ++g) {
    const auto band = [&](int64_t i) -> const BandMoments& { return bands[i * attrs.groups + g]; };
    double total = 0;
    for (int64_t i = 0; i < count; ++i) total += band(i).count;
    const Moments whole = merge(count, [&](int64_t i) {
      return Weighted{{band(i).mean, band(i).squares}, band(i).count};
    });
    find_coefficients(whole.mean, whole.squares / total, attrs.eps, g * width, (g + 1) * width,
                      static_cast<const float*>(args.inputs[1]), static_cast<const float*>(args.inputs[2]),
                      {out, out + channels, out + 2 * channels});
  }
}

void run_apply(const KernelArgs& args) {
  const Sizes s(args.call);
  // The coefficients are only read; the struct is shared with the code that makes them.
  auto* by = const_cast<float*>(static_cast<const float*>(args.inputs[1]));
  normalize_all(args, s, [&](int64_t) { return Coefficients{by, by + s.channels, by + 2 * s.channels}; });
}

void group_norm_run(const KernelArgs& args) noexcept {
  switch (group_norm_form(args.call)) {
    case GroupNormForm::whole: return run_whole(args);
    case GroupNormForm::moments: return run_moments(args);
    case GroupNormForm::coefficients: return run_coefficients(args);
    case GroupNormForm::apply: return run_apply(args);
  }
}

}  // namespace

EASEL_ISA_KERNEL(group_norm) = {.name = EASEL_ISA_NAME,
                                .isa = kUnitIsa,
                                .reject = group_norm_reject,
                                .run = group_norm_run,
                                .scratch_bytes = group_norm_scratch,
                                .in_place = 1};

}  // namespace easel::ops
