// Reasons to reject a call that several operators share.
#pragma once

#include "ops/kernel.h"

namespace easel::ops {

/// Why a kernel that reads contiguous f32 alone cannot take these inputs; nullptr if it can.
inline const char* reject_other_than_f32_rows(const OpCall& call) noexcept {
  for (const ArgType& input : call.inputs) {
    if (input.dtype != DType::f32) return "needs f32";
    if (!input.contiguous()) return "needs contiguous rows";
  }
  return nullptr;
}

}  // namespace easel::ops
