#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Group normalization, channels last: per picture and group of C/groups channels,
/// y = act((x − mean) / sqrt(var + eps) · weight + bias), mean and (biased) variance over all positions of the group.
/// x: [B, ..., C] f32 or bf16; weight, bias: [C] f32 → shape of x, of dtype `result` (f32 or bf16). Throws
/// shape_mismatch. Wu & He 2018.
struct GroupNormAttrs {
  int groups = 32;
  double eps = 1e-5;
  Activation activation = Activation::none;
  DType result = DType::f32;
  bool operator==(const GroupNormAttrs&) const = default;
};

ValueType infer(const GroupNormAttrs& attrs, Inputs inputs);
std::string to_string(const GroupNormAttrs& attrs);

}  // namespace easel::ops
