// The reference of conv2d: the formula of conv2d.h, sums and epilogue in double. Zeros of the padding are multiplied
// like any other value, so a weight that is not finite reaches the border, too.
#include "ops/gemm/reference.h"
#include <algorithm>
#include "ops/activation/exact.h"
#include "tensor/convert.h"

#include "ops/conv2d/conv2d.h"
#include "ops/isa.h"
#include "tensor/convert.h"

namespace easel::ops {
namespace {

const char* reject(const OpCall& call) noexcept {
  for (size_t i = 2; i < call.inputs.size(); ++i)
    if (call.inputs[i].dtype != DType::f32) return "bias, channel bias, slope or residual is not f32";
  if (call.output.dtype != DType::f32 && call.output.dtype != DType::bf16) return "the result is not f32 or bf16";
  if (!reference_element(call.inputs[0].dtype)) return "x is not f32, f16 or bf16";
  if (call.inputs[1].encoding != BlockFormat::none && !call.inputs[1].contiguous()) return "blocks are not row by row";
  return reference_element(call.inputs[1].dtype) ? nullptr : "the weight is not f32, f16 or bf16";
}

/// Outputs worked on together: their weights, as doubles [kh][kw][C][kOutputs], are the scratch of a thread.
constexpr int64_t kOutputs = 16;

int64_t scratch_bytes(const OpCall& call, int threads) noexcept {
  const Shape& w = call.inputs[1].shape;
  const int64_t rows = call.inputs[1].encoding == BlockFormat::none ? kOutputs : 2 * kOutputs;
  return threads * w[1] * w[2] * w[3] * rows * int64_t{sizeof(double)};
}

void read_weights(const KernelArgs& args, int64_t first, int64_t count, double* target) noexcept {
  const ArgType& w = args.call.inputs[1];
  ElementReader weight{args.inputs[1], w.dtype};
  int64_t base = first * w.strides[0];
  if (w.encoding != BlockFormat::none) {  // the rows, decoded, stand behind what is made of them
    double* rows = target + w.shape[1] * w.shape[2] * w.shape[3] * kOutputs;
    for (int64_t o = 0; o < count; ++o) decode_row(w, args.inputs[1], first + o, rows + o * w.strides[0]);
    weight = {rows, DType::f64};
    base = 0;
  }
  for (int64_t ky = 0; ky < w.shape[2]; ++ky)
    for (int64_t kx = 0; kx < w.shape[3]; ++kx)
      for (int64_t c = 0; c < w.shape[1]; ++c)
        for (int64_t o = 0; o < kOutputs; ++o)
          *target++ = o < count
                          ? weight(base + o * w.strides[0] + c * w.strides[1] + ky * w.strides[2] + kx * w.strides[3])
                          : 0.0;
}

/// Sums of kOutputs outputs for one pixel.
void convolve(const KernelArgs& args, const double* weights, int64_t b, int64_t oy, int64_t ox, double* sums) noexcept {
  const auto& attrs = args.call.as<Conv2dAttrs>();
  const ArgType &x = args.call.inputs[0], &w = args.call.inputs[1];
  const ElementReader source{args.inputs[0], x.dtype};
  for (int64_t o = 0; o < kOutputs; ++o) sums[o] = 0;
  for (int64_t ky = 0; ky < w.shape[2]; ++ky)
    for (int64_t kx = 0; kx < w.shape[3]; ++kx) {
      const int64_t iy = oy * attrs.stride + ky - attrs.pad_top, ix = ox * attrs.stride + kx - attrs.pad_left;
      const bool inside = iy >= 0 && iy < x.shape[1] && ix >= 0 && ix < x.shape[2];
      const int64_t pixel = b * x.strides[0] + iy * x.strides[1] + ix * x.strides[2];
      for (int64_t c = 0; c < x.shape[3]; ++c, weights += kOutputs) {
        const double value = inside ? source(pixel + c * x.strides[3]) : 0.0;
        for (int64_t o = 0; o < kOutputs; ++o) sums[o] += value * weights[o];
      }
    }
}

void run(const KernelArgs& args) noexcept {
  const auto& attrs = args.call.as<Conv2dAttrs>();
  const auto& in = args.call.inputs;
  const Shape& shape = args.call.output.shape;
  const int64_t outputs = shape[3], parts = (outputs + kOutputs - 1) / kOutputs;
  const auto input = [&](size_t i) { return static_cast<const float*>(args.inputs[i]); };
  const int64_t weights_size = scratch_bytes(args.call, 1) / int64_t{sizeof(double)};
  args.pool.parallel_for(parts * shape[0], [&](int64_t task, int thread) {
    const int64_t b = task / parts, first = task % parts * kOutputs, count = std::min(kOutputs, outputs - first);
    double* weights = reinterpret_cast<double*>(args.scratch) + thread * weights_size;
    read_weights(args, first, count, weights);
    for (int64_t oy = 0; oy < shape[1]; ++oy)
      for (int64_t ox = 0; ox < shape[2]; ++ox) {
        double sums[kOutputs];
        convolve(args, weights, b, oy, ox, sums);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t o = first + i;
          size_t next = 2;
          double y = sums[i];
          if (attrs.bias) y += input(next)[o * in[next].strides[0]], ++next;
          if (attrs.channel_bias) y += input(next)[b * in[next].strides[0] + o * in[next].strides[1]], ++next;
          if (attrs.slope())
            y = prelu_exactly(y, input(next)[o * in[next].strides[0]]), ++next;
          else
            y = activate_exactly(attrs.activation, y);
          if (attrs.residual) {
            const Shape& s = in[next].strides;
            y += input(next)[b * s[0] + oy * s[1] + ox * s[2] + o * s[3]];
          }
          const Shape& to = args.call.output.strides;
          store_from_double(args.output, args.call.output.dtype, b * to[0] + oy * to[1] + ox * to[2] + o * to[3], y);
        }
      }
  });
}

}  // namespace

EASEL_KERNEL(conv2d_reference) = {.name = "reference",
                                  .reject = reject,
                                  .run = run,
                                  .scratch_bytes = scratch_bytes,
                                  .in_place = 0b111100,
                                  .strided_output = true};

}  // namespace easel::ops
