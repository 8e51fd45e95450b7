// f32 ↔ bf16 and f16, the conversions that pictures and weights need.
#include <bit>

#include <easel/half.h>

#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/simd.h"

namespace easel::ops {

namespace {

// Loops that the compiler turns into vectors.
void to_f32(const bf16* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = bf16_to_float(x[i].bits);
}
void from_f32(const float* x, bf16* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<uint32_t>(x[i]);
    const uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16, quiet = bits >> 16 | 0x40u;
    y[i].bits = static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded);
  }
}

void to_f32(const f16* x, float* y, int64_t count) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= count; i += 16)
    simd::store(y + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + i))));
#elif defined(__F16C__)
  for (; i + 8 <= count; i += 8)
    simd::store(y + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i))));
#endif
  for (; i < count; ++i) y[i] = f16_to_float(x[i].bits);
}
void from_f32(const float* x, f16* y, int64_t count) {
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= count; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i), _mm512_cvtps_ph(simd::load(x + i), 0));
#elif defined(__F16C__)
  for (; i + 8 <= count; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), _mm256_cvtps_ph(simd::load(x + i), 0));
#endif
  for (; i < count; ++i) y[i].bits = f16_from_float(x[i]);
}

template <typename Half>
void convert(const KernelArgs& args) {
  const bool widen = args.call.output.dtype == DType::f32;
  if (!args.call.output.contiguous()) {  // into its place in a wider tensor, row by row
    const Shape &shape = args.call.output.shape, &strides = args.call.output.strides;
    const int64_t columns = shape.back(), rows = columns ? shape.numel() / columns : 0, lines = shape[-2];
    return for_parts(args.pool, rows, rows_per_task(columns), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        int64_t to = row % lines * strides[-2];
        for (int axis = shape.rank() - 3; axis >= 0; --axis)
          to += row / product(shape, axis + 1, shape.rank() - 1) % shape[axis] * strides[axis];
        if (widen)
          to_f32(static_cast<const Half*>(args.inputs[0]) + row * columns, static_cast<float*>(args.output) + to,
                 columns);
        else
          from_f32(static_cast<const float*>(args.inputs[0]) + row * columns, static_cast<Half*>(args.output) + to,
                   columns);
      }
    });
  }
  for_parts(args.pool, args.call.output.shape.numel(), kTaskElements, [&](int64_t begin, int64_t end) {
    if (widen)
      to_f32(static_cast<const Half*>(args.inputs[0]) + begin, static_cast<float*>(args.output) + begin, end - begin);
    else
      from_f32(static_cast<const float*>(args.inputs[0]) + begin, static_cast<Half*>(args.output) + begin, end - begin);
  });
}

bool half(DType dtype) { return dtype == DType::bf16 || dtype == DType::f16; }

const char* cast_reject(const OpCall& call) noexcept {
  const DType from = call.inputs[0].dtype, to = call.output.dtype;
  if (!(from == DType::f32 && half(to)) && !(to == DType::f32 && half(from))) return "only f32 from and to bf16 or f16";
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}

void cast_run(const KernelArgs& args) noexcept {
  const bool has_bf16 = args.call.inputs[0].dtype == DType::bf16 || args.call.output.dtype == DType::bf16;
  return has_bf16 ? convert<bf16>(args) : convert<f16>(args);
}

}  // namespace

EASEL_ISA_KERNEL(cast) = {
    .name = EASEL_ISA_NAME, .isa = kUnitIsa, .reject = cast_reject, .run = cast_run, .strided_output = true};

}  // namespace easel::ops
