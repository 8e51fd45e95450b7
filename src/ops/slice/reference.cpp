#include "ops/copy.h"
#include "ops/isa.h"

namespace easel::ops {

namespace {

const char* accept(const OpCall&) noexcept { return nullptr; }

const void* first_element(const KernelArgs& args) {
  const ArgType& x = args.call.inputs[0];
  const auto& attrs = args.call.as<SliceAttrs>();
  return static_cast<const std::byte*>(args.inputs[0]) + attrs.begin * x.strides[attrs.axis] * size_of(x.dtype);
}

void run(const KernelArgs& args) noexcept {
  const ArgType &x = args.call.inputs[0], &y = args.call.output;
  copy_strided_plainly(first_element(args), x.strides, args.output, y.strides, y.shape, size_of(x.dtype));
}

void run_blocks(const KernelArgs& args) noexcept {
  const ArgType &x = args.call.inputs[0], &y = args.call.output;
  copy_strided(first_element(args), x.strides, args.output, y.strides, y.shape, size_of(x.dtype), args.pool);
}

}  // namespace

EASEL_KERNEL(slice_blocks) = {.name = "blocks", .reject = accept, .run = run_blocks};
EASEL_KERNEL(slice_reference) = {.name = "reference", .reject = accept, .run = run};

}  // namespace easel::ops
