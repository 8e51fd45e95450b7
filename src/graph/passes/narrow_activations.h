// bf16 between layers that would round to it anyway.
#pragma once

#include "graph/passes/pass.h"

namespace easel::graph {

/// before: %a = layer_norm(%x)           %y = linear(%a, @bf16(w))
/// after:  %a = layer_norm(%x) → bf16    %y = linear(%a, @bf16(w))
/// A value that only bf16 attention and layers with bf16 weights read is stored as bf16: they round it anyway, linear
/// layers and direct convolutions to the same bits, Winograd convolutions after a transform. Memory traffic halves.
/// Where kernels do not use bf16 products (no such instructions), values would lose precision: the caller asks for it
/// where it fits. Runs after set_precision.
///
/// One kind of value is rounded that its reader alone would not round: a convolution's result that only norms with
/// bf16 results read, the picture inside a residual block. Sums of blocks, which add up over a network, stay f32.
///
/// A concatenation that only such layers read becomes bf16 as a whole; parts that others read, too, are cast once:
///
///     before: %c = concat(%x, %a)                     %y = conv2d(%c, @bf16(w))   %z = add(%x, …)
///     after:  %c = concat(cast(%x) bf16, %a → bf16)   %y = conv2d(%c, @bf16(w))   %z = add(%x, …)
PassResult narrow_activations(const Graph& graph);

}  // namespace easel::graph
