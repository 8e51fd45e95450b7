// Matrix products over packed weights, for one instruction set: what linear and conv2d are made of.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

#include <easel/half.h>

#include "ops/isa.h"
#include "ops/simd.h"
#include "tensor/block_decode.h"

// Each part needs the ones above it.
// clang-format off
#include "ops/gemm/vec.inl"
#include "ops/gemm/tile.inl"
#include "ops/gemm/pack.inl"
#include "ops/gemm/blocks.inl"
#include "ops/gemm/expand.inl"
#include "ops/gemm/epilogue.inl"
#include "ops/gemm/block.inl"
#include "ops/gemm/stage.inl"
// clang-format on
