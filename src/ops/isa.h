// How a translation unit exports kernels, and which instruction set it is compiled for.
//
// An operator folder holds reference.cpp (compiled like the rest of the project) and cpu_<isa>.cpp files, each of which
// includes the one body cpu.inl. All cpu_<isa>.cpp of one ISA are linked into one object whose only global symbols are
// its kernels (see CMakeLists.txt), so inline functions in these units may use the unit's full instruction set.
#pragma once

#include "ops/kernel.h"

/// Defines the kernel `id` that a row KERNEL(id) of kernels.inc names:
///   EASEL_KERNEL(softmax_reference) = {.name = "reference", .reject = …, .run = …};
#define EASEL_KERNEL(id)                                   \
  extern "C" const ::easel::ops::Kernel easel_kernel_##id; \
  constinit const ::easel::ops::Kernel easel_kernel_##id

/// The same for bodies shared by several ISAs: EASEL_ISA_KERNEL(softmax) defines softmax_avx2 in cpu_avx2.cpp.
/// EASEL_ISA_KERNEL_SUFFIX(linear, f32) defines linear_avx2_f32.
#define EASEL_ISA_KERNEL(op) EASEL_ISA_PASTE2(op, EASEL_ISA)
#define EASEL_ISA_KERNEL_SUFFIX(op, suffix) EASEL_ISA_PASTE3(op, EASEL_ISA, suffix)
#define EASEL_ISA_PASTE2(op, isa) EASEL_ISA_PASTE2_(op, isa)
#define EASEL_ISA_PASTE2_(op, isa) EASEL_KERNEL(op##_##isa)
#define EASEL_ISA_PASTE3(op, isa, suffix) EASEL_ISA_PASTE3_(op, isa, suffix)
#define EASEL_ISA_PASTE3_(op, isa, suffix) EASEL_KERNEL(op##_##isa##_##suffix)

#if defined(__AVX512BF16__)
#define EASEL_ISA avx512_bf16
#define EASEL_ISA_NAME "avx512_bf16"
#elif defined(__AVX512F__)
#define EASEL_ISA avx512
#define EASEL_ISA_NAME "avx512"
#elif defined(__AVX2__)
#define EASEL_ISA avx2
#define EASEL_ISA_NAME "avx2"
#else
#define EASEL_ISA baseline
#define EASEL_ISA_NAME "baseline"
#endif

namespace easel::ops {
namespace {
/// The level this unit is compiled for.
// NOLINTNEXTLINE(misc-definitions-in-headers): every unit has its own value
[[maybe_unused]] constexpr device::Isa kUnitIsa = device::Isa::EASEL_ISA;
}  // namespace
}  // namespace easel::ops
