#include "ops/copy.h"
#include "ops/isa.h"

namespace easel::ops {

namespace {

const char* accept(const OpCall&) noexcept { return nullptr; }

Shape source_strides(const OpCall& call) {
  Shape strides = call.output.shape;
  const auto& order = call.as<PermuteAttrs>().order;
  for (int i = 0; i < strides.rank(); ++i) strides[i] = call.inputs[0].strides[order[static_cast<size_t>(i)]];
  return strides;
}

void run(const KernelArgs& args) noexcept {
  const ArgType& y = args.call.output;
  copy_strided_plainly(args.inputs[0], source_strides(args.call), args.output, y.strides, y.shape, size_of(y.dtype));
}

void run_tiles(const KernelArgs& args) noexcept {
  const ArgType& y = args.call.output;
  copy_strided(args.inputs[0], source_strides(args.call), args.output, y.strides, y.shape, size_of(y.dtype), args.pool);
}

}  // namespace

EASEL_KERNEL(permute_tiles) = {.name = "tiles", .reject = accept, .run = run_tiles};
EASEL_KERNEL(permute_reference) = {.name = "reference", .reject = accept, .run = run};

}  // namespace easel::ops
