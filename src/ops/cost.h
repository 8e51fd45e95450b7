// What a call costs whichever kernel runs it: operations, bytes, and the class that profiles add it to.
#pragma once

#include "ops/kernel.h"

namespace easel::ops {

/// The kinds of work of a diffusion model, as profiles sum them.
enum class OpClass {
  linear,       ///< dense layers over [..., tokens, channels]
  conv_1x1,     ///< pointwise convolutions; the passes turn them into linear layers over [B, H, W, C]
  conv_3x3,     ///< with any stride
  conv_other,   ///< every other kernel size
  attention,    ///< also the products and softmax of attention that was not fused
  norm,         ///< group and layer normalization
  elementwise,  ///< activations, sums, casts
  movement,     ///< copies, gathers and other changes of place
};
inline constexpr int kOpClasses = static_cast<int>(OpClass::movement) + 1;

/// "linear", "conv 1x1", "conv 3x3", "conv", "attention", "norm", "element-wise", "movement".
const char* to_string(OpClass op_class) noexcept;
OpClass op_class_of(const OpCall& call) noexcept;

/// Floating-point operations of dense layers, convolutions, products and attention: multiplications and additions of
/// the direct form, so that faster algorithms (Winograd) can exceed a processor's peak; causal attention counts whole.
/// 0 for all other operators, whose cost is their traffic.
double flops_of(const OpCall& call);

/// Bytes of all inputs, as they are before packing, and of the output: the least traffic without a cache.
double bytes_of(const OpCall& call);

/// The precision of the products: bf16 where weights or attention ask for it, else f32.
DType product_dtype_of(const OpCall& call) noexcept;

/// "f32 [2, 64, 64, 320] f32 [320, 320, 3, 3] -> f32 [2, 64, 64, 320]"
std::string shapes_of(const OpCall& call);

}  // namespace easel::ops
