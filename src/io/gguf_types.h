// ggml's numbers of element types and of metadata types.
#pragma once

#include <easel/dtype.h>

#include <cstdint>
#include <string_view>

#include "tensor/block_format.h"

namespace easel::io {

struct GgmlType {
  uint32_t number;
  std::string_view name;
  bool read;  ///< false: known by name, refused
  DType dtype;
  BlockFormat format;
};

inline constexpr GgmlType kGgmlTypes[] = {
    {0, "F32", true, DType::f32, BlockFormat::none},
    {1, "F16", true, DType::f16, BlockFormat::none},
    {2, "Q4_0", true, DType::f32, BlockFormat::q4_0},
    {3, "Q4_1", true, DType::f32, BlockFormat::q4_1},
    {6, "Q5_0", true, DType::f32, BlockFormat::q5_0},
    {7, "Q5_1", true, DType::f32, BlockFormat::q5_1},
    {8, "Q8_0", true, DType::f32, BlockFormat::q8_0},
    {9, "Q8_1", false, {}, {}},
    {10, "Q2_K", true, DType::f32, BlockFormat::q2_k},
    {11, "Q3_K", true, DType::f32, BlockFormat::q3_k},
    {12, "Q4_K", true, DType::f32, BlockFormat::q4_k},
    {13, "Q5_K", true, DType::f32, BlockFormat::q5_k},
    {14, "Q6_K", true, DType::f32, BlockFormat::q6_k},
    {15, "Q8_K", false, {}, {}},
    {16, "IQ2_XXS", false, {}, {}},
    {17, "IQ2_XS", false, {}, {}},
    {18, "IQ3_XXS", false, {}, {}},
    {19, "IQ1_S", false, {}, {}},
    {20, "IQ4_NL", true, DType::f32, BlockFormat::iq4_nl},
    {21, "IQ3_S", false, {}, {}},
    {22, "IQ2_S", false, {}, {}},
    {23, "IQ4_XS", true, DType::f32, BlockFormat::iq4_xs},
    {24, "I8", true, DType::i8, BlockFormat::none},
    {25, "I16", true, DType::i16, BlockFormat::none},
    {26, "I32", true, DType::i32, BlockFormat::none},
    {27, "I64", true, DType::i64, BlockFormat::none},
    {28, "F64", true, DType::f64, BlockFormat::none},
    {29, "IQ1_M", false, {}, {}},
    {30, "BF16", true, DType::bf16, BlockFormat::none},
    {34, "TQ1_0", false, {}, {}},
    {35, "TQ2_0", false, {}, {}},
    {39, "MXFP4", false, {}, {}},
};

enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
inline constexpr uint32_t kGgufTypes = 13;
inline constexpr uint32_t kGgufAlignment = 32;

}  // namespace easel::io
