// How the inputs of an element-wise operator repeat along the axes of its result.
#pragma once

#include "ops/kernel.h"

namespace easel::ops {

/// Strides of `input` along the axes of `shape`: 0 where it is repeated.
inline Shape broadcast_strides(const ArgType& input, const Shape& shape) {
  Shape strides = shape;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const int own = axis - (shape.rank() - input.shape.rank());
    strides[axis] = own < 0 || input.shape[own] == 1 ? 0 : input.strides[own];
  }
  return strides;
}

inline const char* binary_reject(const OpCall& call) noexcept {
  return call.inputs[0].dtype == DType::f32 && call.inputs[1].dtype == DType::f32 ? nullptr : "needs f32";
}

}  // namespace easel::ops
