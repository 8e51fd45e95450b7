// The kernels of every operator, as explicit lists: nothing registers itself.
#include "ops/kernel.h"

// One BEGIN_OP … KERNEL … END_OP section per operator of ops.inc, made by CMakeLists.txt from the kernels.inc files.
#define BEGIN_OP(name)
#define KERNEL(id) extern "C" const easel::ops::Kernel easel_kernel_##id;
#define END_OP(name)
#include "ops/all_kernels.inc"
#undef BEGIN_OP
#undef KERNEL
#undef END_OP

namespace easel::ops {

namespace {

// Each list ends in a nullptr, since an operator may have no kernels at all.
#define BEGIN_OP(name) constinit const Kernel* const name##_kernels[] = {
#define KERNEL(id) &easel_kernel_##id,
#define END_OP(name) \
  nullptr            \
  }                  \
  ;
#include "ops/all_kernels.inc"
#undef BEGIN_OP
#undef KERNEL
#undef END_OP

constinit const std::span<const Kernel* const> kKernels[] = {
#define OP(name, Attributes) {name##_kernels, std::size(name##_kernels) - 1},
#include "ops/ops.inc"
#undef OP
};

}  // namespace

std::span<const Kernel* const> kernels_of(size_t op_index) noexcept { return kKernels[op_index]; }

const char* rejection(const Kernel& kernel, const OpCall& call, Isa usable) noexcept {
  if (kernel.isa > usable) {
    switch (kernel.isa) {
      case Isa::baseline: break;
      case Isa::avx2: return "needs avx2";
      case Isa::avx512: return "needs avx512";
      case Isa::avx512_bf16: return "needs avx512_bf16";
    }
  }
  const char* reason = kernel.reject ? kernel.reject(call) : nullptr;
  return reason ? reason : "";
}

const Kernel* choose_kernel(const OpCall& call, Isa usable) noexcept {
  for (const Kernel* kernel : kernels_of(call.attrs))
    if (*rejection(*kernel, call, usable) == '\0') return kernel;
  return nullptr;
}

}  // namespace easel::ops
