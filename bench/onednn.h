// The same call with oneDNN, where CMake found it (Debian: libdnnl-dev).
#pragma once

#include <optional>
#include <string>

#include "ops/kernel.h"
#include "probe.h"

namespace easel::bench {

/// "oneDNN 2.6.3"; empty where this program was built without it.
std::string onednn_version();

/// Best seconds of a dense layer or convolution, weights reordered beforehand into the layout oneDNN asks for, with
/// bias and without the rest of the epilogue, the source already in the dtype of the products: never more work than
/// easel's kernel does. Convolutions: the faster of the direct and the Winograd algorithm. Nothing for other operators,
/// or where oneDNN refuses the call.
std::optional<double> onednn_seconds(const ops::OpCall& call, int threads, const Timer& timer);

}  // namespace easel::bench
