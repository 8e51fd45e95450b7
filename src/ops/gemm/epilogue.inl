// What follows the sums of a tile: bias, offset per picture, activation, residual, and the store.

namespace easel::ops {
namespace {

struct BlockRows;

struct Epilogue {
  const float* bias = nullptr;
  const float* slope = nullptr;  ///< of prelu, one per column
  Activation activation = Activation::none;
  bool stream = false;  ///< store past the caches
  bool narrow = false;  ///< the result is bf16
};

/// Whether a result is too large for any cache to hold until it is read, so that its lines need not be read first.
inline bool past_caches(const ArgType& out, const void* address) {
  constexpr int64_t kBytes = int64_t{64} << 20;
  return out.dtype == DType::f32 && out.shape.numel() * 4 >= kBytes && out.shape.back() % kW == 0 &&
         (out.contiguous() || out.strides[-2] % kW == 0) && reinterpret_cast<uintptr_t>(address) % 64 == 0;
}

template <Activation activation>
inline F activate(F x) {
  if constexpr (activation == Activation::silu) return simd::silu(x);
  if constexpr (activation == Activation::gelu_erf) return simd::gelu_erf(x);
  if constexpr (activation == Activation::gelu_tanh) return simd::gelu_tanh(x);
  if constexpr (activation == Activation::quick_gelu) return simd::quick_gelu(x);
  if constexpr (activation == Activation::relu) return simd::relu(x);
  if constexpr (activation == Activation::tanh) return simd::tanh(x);
  return x;
}

/// One row of a tile: `count` columns beginning at `column`.
template <Activation activation>
void finish_row(const float* sums, int64_t column, int count, int gate_offset, const float* bias, const float* slope,
                const float* gate_bias, const float* channel_bias, const float* residual, void* out, bool stream,
                bool narrow) {
  for (int i = 0; i < count; i += kW) {
    const int n = std::min(kW, count - i);
    const int64_t c = column + i;
    const auto get = [n](const float* p) { return n == kW ? load(p) : simd::load_n(p, n); };
    F y = load(sums + i);
    if (bias) y = y + get(bias + c);
    if (channel_bias) y = y + get(channel_bias + c);
    if constexpr (activation == Activation::geglu) {
      F gate = load(sums + gate_offset + i);
      if (gate_bias) gate = gate + get(gate_bias + c);
      y = y * simd::gelu_erf(gate);
    } else if constexpr (activation == Activation::prelu) {
      y = simd::prelu(y, get(slope + c));
    } else {
      y = activate<activation>(y);
    }
    if (residual) y = y + get(residual + c);
    if (narrow) {
      simd::store_bf16(static_cast<uint16_t*>(out) + c, y, n);
      continue;
    }
    float* to = static_cast<float*>(out) + c;
    n < kW ? simd::store_n(to, y, n) : stream ? store_past(to, y) : store(to, y);
  }
}

template <typename Rows>
void finish_tile(const Epilogue& epilogue, const Rows& rows, int first, int height, const float* sums,
                 const Panels& panels, int64_t panel) {
  const int width = panels.vectors(panel) * kW;
  const int64_t column = panel * panels.panel_columns();
  const int count = static_cast<int>(std::min(panels.columns() - column, panels.panel_columns()));
  const float* gate_bias = panels.gated && epilogue.bias ? epilogue.bias + panels.columns() : nullptr;
  const auto finish = [&]<Activation activation>() {
    for (int r = 0; r < height; ++r)
      finish_row<activation>(sums + r * width, column, count, width / 2, epilogue.bias, epilogue.slope, gate_bias,
                             rows.channel_bias[first + r], rows.residual[first + r], rows.out[first + r],
                             epilogue.stream, epilogue.narrow);
  };
  switch (epilogue.activation) {
    case Activation::none: return finish.template operator()<Activation::none>();
    case Activation::silu: return finish.template operator()<Activation::silu>();
    case Activation::gelu_erf: return finish.template operator()<Activation::gelu_erf>();
    case Activation::gelu_tanh: return finish.template operator()<Activation::gelu_tanh>();
    case Activation::quick_gelu: return finish.template operator()<Activation::quick_gelu>();
    case Activation::relu: return finish.template operator()<Activation::relu>();
    case Activation::tanh: return finish.template operator()<Activation::tanh>();
    case Activation::geglu: return finish.template operator()<Activation::geglu>();
    case Activation::prelu: return finish.template operator()<Activation::prelu>();
  }
}

}  // namespace
}  // namespace easel::ops
