// Calling an operator directly on tensors.
#pragma once

#include <string>
#include <vector>

#include <easel/tensor.h>

#include "device/context.h"
#include "ops/kernel.h"

namespace easel::exec {

/// The static type of a tensor.
ops::ArgType arg_type(const Tensor& tensor, bool constant = false);

/// Runs one operator with the best kernel that fits and returns a new tensor. Weights are packed on the fly, so this
/// suits single calls and tests; networks are compiled. Inputs may be strided views where a kernel takes them.
/// Throws shape_mismatch for unfit shapes, unsupported if no kernel fits (with each kernel's reason), out_of_memory.
Tensor call(device::Context& context, const ops::Attrs& attrs, const std::vector<Tensor>& inputs);

/// The same into `output`: contiguous, of the result's dtype and shape. Throws shape_mismatch if it is not.
void call_into(device::Context& context, const ops::Attrs& attrs, const std::vector<Tensor>& inputs,
               const Tensor& output);

/// "linear avx512_f32: needs avx512; reference: …" – why no kernel took the call.
std::string rejections(const ops::OpCall& call, ops::Isa usable);

}  // namespace easel::exec
