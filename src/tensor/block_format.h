// Packed number formats: rows cut into blocks of elements that share scales, as GGUF files hold them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <easel/dtype.h>

namespace easel {

/// Formats of ggml (https://github.com/ggml-org/ggml, ggml-common.h; the layouts are in block_decode.h); `none` is
/// plain elements of a DType. The fp8 types are plain elements in files, and blocks of one element where weights stay
/// as they are stored.
enum class BlockFormat : uint8_t {
  none,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  f8_e4m3,
  f8_e5m2
};

/// What files call packed: ggml's.
inline constexpr BlockFormat kBlockFormats[] = {BlockFormat::q4_0, BlockFormat::q4_1,   BlockFormat::q5_0,
                                                BlockFormat::q5_1, BlockFormat::q8_0,   BlockFormat::q2_k,
                                                BlockFormat::q3_k, BlockFormat::q4_k,   BlockFormat::q5_k,
                                                BlockFormat::q6_k, BlockFormat::iq4_nl, BlockFormat::iq4_xs};

/// Elements of a block; a row must be a whole number of blocks. 1 for none.
int64_t block_elements(BlockFormat format) noexcept;
/// Bytes of a block; 0 for none.
int64_t block_bytes(BlockFormat format) noexcept;
/// "q4_k"; "" for none.
std::string_view to_string(BlockFormat format) noexcept;
/// The inverse of to_string, for names in lower case.
std::optional<BlockFormat> block_format_from_name(std::string_view name) noexcept;

/// count elements of packed blocks → f32. count: a multiple of block_elements(). Bit-equal to the `gguf` package's
/// gguf.quants.dequantize (float32 arithmetic in its order). blocks need no alignment.
void dequantize(BlockFormat format, const void* blocks, float* out, int64_t count) noexcept;
/// The same with products and sums in double.
void dequantize(BlockFormat format, const void* blocks, double* out, int64_t count) noexcept;

/// f8_e4m3 and f8_e5m2 for these dtypes, none for others.
BlockFormat element_format(DType dtype) noexcept;
/// Bytes of count elements, which are whole blocks.
int64_t bytes_in_blocks(BlockFormat format, int64_t count) noexcept;

/// Whether quantize() can write it: all of kBlockFormats.
bool can_quantize(BlockFormat format) noexcept;

/// count finite f32 elements → packed blocks. q4_0 … q8_0 are bit-equal to gguf.quants.quantize; the others search
/// scales as ggml's quantize_row_* do: for each sub-block the scale (and offset) with the least squared error among a
/// few candidates, weighted by √mean(x²) + |x| (q4_k, q5_k), |x| (q2_k) or x² (q3_k, q6_k, iq4_nl, iq4_xs).
void quantize(BlockFormat format, const float* values, void* blocks, int64_t count) noexcept;

}  // namespace easel
