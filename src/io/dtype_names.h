// The format's names of the element types.
#pragma once

#include <easel/dtype.h>

#include <array>
#include <optional>
#include <string_view>
#include <utility>

namespace easel::io {

inline constexpr std::array<std::pair<std::string_view, DType>, 15> kDTypeNames = {{{"F64", DType::f64},
                                                                                    {"F32", DType::f32},
                                                                                    {"F16", DType::f16},
                                                                                    {"BF16", DType::bf16},
                                                                                    {"F8_E4M3", DType::f8_e4m3},
                                                                                    {"F8_E5M2", DType::f8_e5m2},
                                                                                    {"I64", DType::i64},
                                                                                    {"I32", DType::i32},
                                                                                    {"I16", DType::i16},
                                                                                    {"I8", DType::i8},
                                                                                    {"U64", DType::u64},
                                                                                    {"U32", DType::u32},
                                                                                    {"U16", DType::u16},
                                                                                    {"U8", DType::u8},
                                                                                    {"BOOL", DType::boolean}}};

constexpr std::optional<DType> dtype_from_name(std::string_view name) {
  for (const auto& [known, dtype] : kDTypeNames)
    if (known == name) return dtype;
  return std::nullopt;
}

constexpr std::string_view dtype_name(DType dtype) {
  for (const auto& [name, known] : kDTypeNames)
    if (known == dtype) return name;
  return "?";
}

}  // namespace easel::io
