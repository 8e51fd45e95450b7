// The reference of conv2d: the formula of conv2d.h, sums and epilogue in double. Zeros of the padding are multiplied
// like any other value, so a weight that is not finite reaches the border, too.
#include "ops/gemm/reference.h"
#include "ops/conv2d/conv2d.h"
#include "ops/isa.h"

namespace easel::ops {
namespace {

const char* reject(const OpCall& call) noexcept {
  for (size_t i = 0; i < call.inputs.size(); ++i)
    if (i != 1 && call.inputs[i].dtype != DType::f32) return "activations are not f32";
  return reference_weight(call.inputs[1].dtype) ? nullptr : "the weight is not f32, f16 or bf16";
}

void run(const KernelArgs& args) noexcept {
  const auto& attrs = args.call.as<Conv2dAttrs>();
  const auto& in = args.call.inputs;
  const ArgType &x = in[0], &w = in[1];
  const Shape& y_shape = args.call.output.shape;
  const int64_t height = y_shape[1], width = y_shape[2], outputs = y_shape[3];
  const WeightReader weight{args.inputs[1], w.dtype};
  const auto* source = static_cast<const float*>(args.inputs[0]);
  auto* out = static_cast<float*>(args.output);
  const auto input = [&](size_t i) { return static_cast<const float*>(args.inputs[i]); };
  args.pool.parallel_for(y_shape[0] * height, [&](int64_t task, int) {
    const int64_t b = task / height, oy = task % height;
    for (int64_t ox = 0; ox < width; ++ox)
      for (int64_t o = 0; o < outputs; ++o) {
        size_t next = 2;
        double sum = 0;
        for (int64_t ky = 0; ky < w.shape[2]; ++ky)
          for (int64_t kx = 0; kx < w.shape[3]; ++kx) {
            const int64_t iy = oy * attrs.stride + ky - attrs.pad_top, ix = ox * attrs.stride + kx - attrs.pad_left;
            const bool inside = iy >= 0 && iy < x.shape[1] && ix >= 0 && ix < x.shape[2];
            const float* pixel = inside ? source + b * x.strides[0] + iy * x.strides[1] + ix * x.strides[2] : nullptr;
            for (int64_t c = 0; c < x.shape[3]; ++c)
              sum += (pixel ? double(pixel[c * x.strides[3]]) : 0.0) *
                     weight(o * w.strides[0] + c * w.strides[1] + ky * w.strides[2] + kx * w.strides[3]);
          }
        if (attrs.bias) sum += input(next)[o * in[next].strides[0]], ++next;
        if (attrs.channel_bias) sum += input(next)[b * in[next].strides[0] + o * in[next].strides[1]], ++next;
        double y = reference_activation(attrs.activation, sum);
        if (attrs.residual) {
          const Shape& s = in[next].strides;
          y += input(next)[b * s[0] + oy * s[1] + ox * s[2] + o * s[3]];
        }
        out[((b * height + oy) * width + ox) * outputs + o] = static_cast<float>(y);
      }
  });
}

}  // namespace

EASEL_KERNEL(conv2d_reference) = {.name = "reference", .reject = reject, .run = run, .in_place = 0b11100};

}  // namespace easel::ops
