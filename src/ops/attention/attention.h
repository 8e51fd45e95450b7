#pragma once

#include "ops/schema.h"

namespace easel::ops {

/// Scaled dot-product attention over heads laid side by side: per head, y = softmax(scale · q · kᵀ) · v.
/// q: [B, S, heads·D]; k: [B, T, heads·D]; v: [B, T, heads·D], each f32 or bf16 → y: [B, S, heads·D] of dtype `result`,
/// f32 or bf16. causal: query i sees keys 0 … i only (needs S = T). precision bf16 rounds q, k, v and the probabilities
/// to bf16; sums stay f32. k and v may have batch 1 and then serve every batch. Throws shape_mismatch. Vaswani et al.
/// 2017.
struct AttentionAttrs {
  int heads = 1;
  double scale = 1.0;
  bool causal = false;
  DType precision = DType::f32;
  DType result = DType::f32;
  bool operator==(const AttentionAttrs&) const = default;
};

ValueType infer(const AttentionAttrs& attrs, Inputs inputs);
std::string to_string(const AttentionAttrs& attrs);

}  // namespace easel::ops
