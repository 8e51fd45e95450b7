// What a kernel is: one row of an operator's list, chosen when a program is compiled.
#pragma once

#include <cstddef>
#include <span>

#include <easel/shape.h>

#include "base/thread_pool.h"
#include "device/cpu/features.h"
#include "ops/attrs.h"
#include "tensor/block_format.h"

namespace easel::ops {

using device::Isa;

/// A static argument: sizes are numbers. Strides are in elements.
struct ArgType {
  DType dtype = DType::f32;
  Shape shape;
  Shape strides;          ///< row-major unless the executor passes a view (a slice of a wider tensor)
  bool constant = false;  ///< a weight: its bytes are known before the first run, so it can be packed
  /// Rows of a constant that stay in blocks of this format, one after the other; `dtype` is then what the decoded
  /// values are rounded to. A row is a whole number of blocks.
  BlockFormat encoding = BlockFormat::none;

  bool contiguous() const { return strides == contiguous_strides(shape); }
  /// Bytes of the elements, row-major.
  int64_t bytes() const {
    return encoding == BlockFormat::none ? shape.numel() * size_of(dtype) : bytes_in_blocks(encoding, shape.numel());
  }
};

/// Everything known about a call before it runs.
struct OpCall {
  Attrs attrs;
  std::vector<ArgType> inputs;
  ArgType output;  ///< contiguous, but where the kernel says strided_output

  template <typename A>
  const A& as() const {
    return std::get<A>(attrs);
  }
};

/// A layout for constants that a kernel reads. (constant, name) is the key under which a packed copy is shared, so the
/// layout must depend on the type of the constant alone: never on batch or picture size.
struct PackFormat {
  const char* name;
  int64_t (*bytes)(const ArgType& type) noexcept;
  /// source: row-major elements of type.dtype. target: bytes(type) bytes, 64-byte aligned.
  void (*pack)(const ArgType& type, const void* source, void* target, ThreadPool& pool) noexcept;
};

struct KernelArgs {
  const OpCall& call;
  const void* const* inputs;  ///< packed where the kernel asked for a format
  void* output;
  std::byte* scratch;  ///< scratch_bytes(), 64-byte aligned
  ThreadPool& pool;
};

/// The reasons and sizes depend on the call only: never on the clock, nor the results on the number of threads.
struct Kernel {
  const char* name;  ///< "avx512_f32"; the operator's name stands before it in reports
  Isa isa = Isa::baseline;
  /// Why this kernel cannot run the call, or nullptr if it can. "No kernel fits" is never an abort.
  const char* (*reject)(const OpCall& call) noexcept;
  void (*run)(const KernelArgs& args) noexcept;
  /// Layout wanted for constant input `index`; nullptr (the function or its result): row-major as it is.
  const PackFormat* (*format)(const OpCall& call, int index) noexcept = nullptr;
  int64_t (*scratch_bytes)(const OpCall& call, int threads) noexcept = nullptr;
  /// Bit i: the output may share memory with input i, where dtype and shape agree.
  unsigned in_place = 0;
  /// The last axis of the output may be a part of a wider one (a place in a concat): strides like those of a slice.
  bool strided_output = false;
};

/// The kernels of an operator, best first, the reference last.
std::span<const Kernel* const> kernels_of(size_t op_index) noexcept;
inline std::span<const Kernel* const> kernels_of(const Attrs& attrs) noexcept { return kernels_of(attrs.index()); }

/// Number of operators in ops.inc.
inline constexpr size_t kOpCount = std::variant_size_v<Attrs>;

/// An empty string where the kernel fits, otherwise the reason: a missing instruction set, or its own rejection.
const char* rejection(const Kernel& kernel, const OpCall& call, Isa usable) noexcept;

/// The first kernel that fits; nullptr if none does.
const Kernel* choose_kernel(const OpCall& call, Isa usable) noexcept;

}  // namespace easel::ops
