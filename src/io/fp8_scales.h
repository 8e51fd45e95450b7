// Weights in fp8 with a scale beside them.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "io/tensor_file.h"

namespace easel::io {

/// Scaled fp8, the layouts of ComfyUI (comfy/ops.py) and of ModelOpt. Beside `X.weight` stands `X.scale_weight` or
/// `X.weight_scale`, one number or one per row:
///   value = stored · scale
/// Also there may be `X.scale_input` or `X.input_scale`, which concern arithmetic in fp8 and change no weight,
/// `X.comfy_quant`, a text that says the format, and once per model `scaled_fp8`, which marks the layout. The scales go
/// to their weights, and all these tensors from the list to `listing.absorbed`. bytes: the whole file. Throws io for
/// scales without their weight in the file, of parts of a row, of weights that are no floating-point numbers, and for
/// those that are not finite.
void take_fp8_scales(TensorListing& listing, std::span<const std::byte> bytes, const std::string& where);

}  // namespace easel::io
