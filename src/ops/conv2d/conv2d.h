#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Two-dimensional convolution, channels last, zero padding: y = act(conv(x, w) + bias + channel_bias) + residual.
/// x: [B, H, W, C] f32|bf16; w: [O, C, kh, kw] f32|bf16|f16 (the layout of published checkpoints); bias: [O] f32;
/// channel_bias: [B, O] f32, one offset per picture and channel; slope: [O] f32, of the activation prelu (ops/prelu);
/// residual: shape of y, f32 → y: [B, ⌊(H + top + bottom − kh)/stride⌋ + 1, …, O] of dtype `result`, f32 or bf16.
/// The dtype of w is the precision of the products, as in linear; a constant w may stay in blocks, as there.
/// Inputs in order: x, w, [bias], [channel_bias], [slope], [residual]. Throws shape_mismatch.
struct Conv2dAttrs {
  int stride = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  bool bias = false;
  bool channel_bias = false;
  bool residual = false;
  Activation activation = Activation::none;
  DType result = DType::f32;
  /// Whether there is an input of slopes.
  bool slope() const { return activation == Activation::prelu; }
  bool operator==(const Conv2dAttrs&) const = default;
};

ValueType infer(const Conv2dAttrs& attrs, Inputs inputs);
std::string to_string(const Conv2dAttrs& attrs);

}  // namespace easel::ops
