#include "ops/copy.h"
#include "ops/isa.h"

namespace easel::ops {

namespace {

const char* accept(const OpCall&) noexcept { return nullptr; }

// Elements leave in row-major order of the input's own shape, whatever the output's is.
void run(const KernelArgs& args) noexcept {
  const ArgType& x = args.call.inputs[0];
  copy_strided_plainly(args.inputs[0], x.strides, args.output, contiguous_strides(x.shape), x.shape, size_of(x.dtype));
}

void run_blocks(const KernelArgs& args) noexcept {
  const ArgType& x = args.call.inputs[0];
  copy_strided(args.inputs[0], x.strides, args.output, contiguous_strides(x.shape), x.shape, size_of(x.dtype),
               args.pool);
}

}  // namespace

EASEL_KERNEL(reshape_blocks) = {.name = "blocks", .reject = accept, .run = run_blocks};
EASEL_KERNEL(reshape_reference) = {.name = "reference", .reject = accept, .run = run};

}  // namespace easel::ops
