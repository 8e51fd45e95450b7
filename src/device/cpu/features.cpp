#include "device/cpu/features.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/fail.h"

namespace easel::device {

const char* to_string(Isa isa) noexcept {
  switch (isa) {
    case Isa::baseline: return "baseline";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512_bf16: return "avx512_bf16";
  }
  return "unknown";
}

Isa detect_isa() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  // The processor is asked itself where clang 14 does not know a feature's name. (The system must also save the wide
  // registers, which __builtin_cpu_supports looks at for avx2 and avx512f.)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx >> 29 & 1);
  const bool bf16 = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 5 & 1);
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !f16c) return Isa::baseline;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return Isa::avx2;
  return bf16 ? Isa::avx512_bf16 : Isa::avx512;
#else
  return Isa::baseline;
#endif
}

Isa parse_isa(std::string_view name) {
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_bf16})
    if (name == to_string(isa)) return isa;
  fail(ErrorCode::invalid_argument, "EASEL_MAX_ISA: expected baseline, avx2, avx512 or avx512_bf16, found '{}'",
       printable(name));
}

Isa usable_isa() {
  const char* limit = std::getenv("EASEL_MAX_ISA");
  return limit && *limit ? std::min(detect_isa(), parse_isa(limit)) : detect_isa();
}

std::string cpu_model_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0)
      if (const size_t colon = line.find(": "); colon != std::string::npos) return line.substr(colon + 2);
  return "unknown";
}

}  // namespace easel::device
