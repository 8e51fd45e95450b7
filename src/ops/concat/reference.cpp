#include "ops/copy.h"
#include "ops/isa.h"

namespace easel::ops {

namespace {

const char* accept(const OpCall&) noexcept { return nullptr; }

// copy(source, source strides, target, target strides, shape) once per input.
template <typename Copy>
void each_input(const KernelArgs& args, Copy&& copy) {
  const OpCall& call = args.call;
  const int axis = call.as<ConcatAttrs>().axis;
  int64_t at = 0;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const ArgType& x = call.inputs[i];
    const int64_t offset = at * call.output.strides[axis] * size_of(x.dtype);
    copy(args.inputs[i], x.strides, static_cast<std::byte*>(args.output) + offset, call.output.strides, x.shape,
         size_of(x.dtype));
    at += x.shape[axis];
  }
}

void run(const KernelArgs& args) noexcept {
  each_input(args, [](auto... of) { copy_strided_plainly(of...); });
}

void run_blocks(const KernelArgs& args) noexcept {
  each_input(args, [&](auto... of) { copy_strided(of..., args.pool); });
}

}  // namespace

EASEL_KERNEL(concat_blocks) = {.name = "blocks", .reject = accept, .run = run_blocks, .strided_output = true};
EASEL_KERNEL(concat_reference) = {.name = "reference", .reject = accept, .run = run, .strided_output = true};

}  // namespace easel::ops
