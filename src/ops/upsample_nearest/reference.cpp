#include <cstring>

#include "ops/isa.h"
#include "ops/parts.h"

namespace easel::ops {

namespace {

const char* reject(const OpCall& call) noexcept {
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}

// Any dtype: pixels are moved as bytes.
void copy_row(const KernelArgs& args, int64_t row) {
  const Shape &x = args.call.inputs[0].shape, &y = args.call.output.shape;
  const int64_t height = y[1], width = y[2], pixel = y[3] * size_of(args.call.output.dtype);
  const int64_t source_row = row / height * x[1] + row % height * x[1] / height;
  const auto* from = static_cast<const std::byte*>(args.inputs[0]) + source_row * x[2] * pixel;
  auto* to = static_cast<std::byte*>(args.output) + row * width * pixel;
  for (int64_t w = 0; w < width; ++w)
    std::memcpy(to + w * pixel, from + w * x[2] / width * pixel, static_cast<size_t>(pixel));
}

void run(const KernelArgs& args) noexcept {
  const Shape &x = args.call.inputs[0].shape, &y = args.call.output.shape;
  const int64_t element = size_of(args.call.output.dtype);
  int64_t to = 0;
  for (int64_t b = 0; b < y[0]; ++b)
    for (int64_t h = 0; h < y[1]; ++h)
      for (int64_t w = 0; w < y[2]; ++w)
        for (int64_t c = 0; c < y[3]; ++c, ++to) {
          const int64_t from = ((b * x[1] + h * x[1] / y[1]) * x[2] + w * x[2] / y[2]) * x[3] + c;
          std::memcpy(static_cast<std::byte*>(args.output) + to * element,
                      static_cast<const std::byte*>(args.inputs[0]) + from * element, static_cast<size_t>(element));
        }
}

void run_rows(const KernelArgs& args) noexcept {
  const Shape& y = args.call.output.shape;
  for_parts(args.pool, y[0] * y[1], rows_per_task(y[2] * y[3]), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) copy_row(args, row);
  });
}

}  // namespace

EASEL_KERNEL(upsample_nearest_rows) = {.name = "rows", .reject = reject, .run = run_rows};
EASEL_KERNEL(upsample_nearest_reference) = {.name = "reference", .reject = reject, .run = run};

}  // namespace easel::ops
