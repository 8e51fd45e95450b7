#include "ops/isa.h"
#include "ops/parts.h"
#include "ops/reject.h"
#include "ops/simd.h"

namespace easel::ops {

namespace {

void prelu_run(const KernelArgs& args) noexcept {
  using namespace simd;
  const auto *x = static_cast<const float*>(args.inputs[0]), *slope = static_cast<const float*>(args.inputs[1]);
  auto* y = static_cast<float*>(args.output);
  const int64_t channels = args.call.output.shape.back();
  const int64_t rows = channels > 0 ? args.call.output.shape.numel() / channels : 0;
  for_parts(args.pool, rows, rows_per_task(channels), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* from = x + row * channels;
      float* to = y + row * channels;
      int64_t c = 0;
      for (; c + kLanes <= channels; c += kLanes) store(to + c, prelu(load(from + c), load(slope + c)));
      if (const int64_t n = channels - c; n > 0) store_n(to + c, prelu(load_n(from + c, n), load_n(slope + c, n)), n);
    }
  });
}

}  // namespace

EASEL_ISA_KERNEL(prelu) = {
    .name = EASEL_ISA_NAME, .isa = kUnitIsa, .reject = reject_other_than_f32_rows, .run = prelu_run, .in_place = 1};

}  // namespace easel::ops
