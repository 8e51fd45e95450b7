// Which instruction sets this process may use.
#pragma once

#include <string>
#include <string_view>

namespace easel::device {

/// Levels in rising order: each includes the ones below it.
enum class Isa {
  baseline,     ///< x86-64 (SSE2), or any other machine
  avx2,         ///< AVX2, FMA and F16C
  avx512,       ///< AVX-512 F, BW, CD, DQ and VL
  avx512_bf16,  ///< and AVX512_BF16
};

const char* to_string(Isa isa) noexcept;

/// The highest level that this processor and operating system support.
Isa detect_isa() noexcept;

/// detect_isa(), lowered to the level named in the environment variable EASEL_MAX_ISA where it is set.
/// Throws invalid_argument for an unknown name.
Isa usable_isa();

/// "baseline", "avx2", "avx512", "avx512_bf16" → level. Throws invalid_argument otherwise.
Isa parse_isa(std::string_view name);

/// The processor's own name, for reports; "unknown" where the system does not tell.
std::string cpu_model_name();

}  // namespace easel::device
