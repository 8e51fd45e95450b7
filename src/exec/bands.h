// Running large pictures in bands of rows, so that what only passes between two layers never exists as a whole.
#pragma once

#include <cstdint>
#include <vector>

#include "exec/program.h"

namespace easel::exec {

/// before: n = group_norm(x)   y = conv2d(n)                                       n is as large as x
/// after:  c = coefficients(moments(x));   per band: t = apply(x[rows+2], c)   y[rows] = conv2d(t)
///
/// Normalized and upsampled pictures (group_norm, upsample_nearest, activation, cast) larger than options.band_bytes
/// are made band by band for each convolution that reads them, with as many rows above and below as it needs. With
/// options.recompute_elements, convolutions of an upsampled picture whose result is at least that large are not kept
/// either, but made again for each reader.
///
/// Exact: a convolution computes every row as it would in the whole picture. Results are bit-equal but for recomputed
/// rows, whose Winograd tiles lie elsewhere, and norms over recomputed pictures (sums in double, in another order).
///
/// commands: those of one entry, an arena location's index being the value's id (below first_free_id), offset 0 its
/// beginning. Pictures of a batch are contiguous only one by one, so pictures in batches are left whole.
std::vector<Command> in_bands(std::vector<Command> commands, const BandOptions& options, int first_free_id,
                              const device::Context& context);

}  // namespace easel::exec
