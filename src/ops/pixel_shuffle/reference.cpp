#include <cstring>

#include "ops/isa.h"
#include "ops/parts.h"

namespace easel::ops {

namespace {

const char* reject(const OpCall& call) noexcept {
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}

const char* reject_rows(const OpCall& call) noexcept {
  if (const int64_t size = size_of(call.output.dtype); size != 2 && size != 4) return "elements of 2 or 4 bytes only";
  return reject(call);
}

// The side with the pixels: the result, or the source of the way back.
const Shape& pixels_of(const OpCall& call) {
  return call.as<PixelShuffleAttrs>().inverse ? call.inputs[0].shape : call.output.shape;
}

// One line of pixels. Where element (b, h·r + i, w·r + j, c) stands on either side is the formula of the header.
template <typename T>
void move_line(const KernelArgs& args, int64_t line) {
  const auto& attrs = args.call.as<PixelShuffleAttrs>();
  const Shape& pixels = pixels_of(args.call);
  const int64_t r = attrs.factor, width = pixels[2] / r, channels = pixels[3], deep = channels * r * r;
  const int64_t i = line % pixels[1] % r, low_line = line / pixels[1] * (pixels[1] / r) + line % pixels[1] / r;
  const auto* x = static_cast<const T*>(args.inputs[0]);
  auto* y = static_cast<T*>(args.output);
  for (int64_t w = 0; w < width; ++w)
    for (int64_t j = 0; j < r; ++j) {
      const int64_t high = (line * width * r + w * r + j) * channels, low = (low_line * width + w) * deep + i * r + j;
      if (attrs.inverse)
        for (int64_t c = 0; c < channels; ++c) y[low + c * r * r] = x[high + c];
      else
        for (int64_t c = 0; c < channels; ++c) y[high + c] = x[low + c * r * r];
    }
}

void run_rows(const KernelArgs& args) noexcept {
  const Shape& pixels = pixels_of(args.call);
  for_parts(args.pool, pixels[0] * pixels[1], rows_per_task(pixels[2] * pixels[3]), [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line)
      size_of(args.call.output.dtype) == 2 ? move_line<uint16_t>(args, line) : move_line<uint32_t>(args, line);
  });
}

void run(const KernelArgs& args) noexcept {
  const auto& attrs = args.call.as<PixelShuffleAttrs>();
  const Shape& pixels = pixels_of(args.call);
  const int64_t r = attrs.factor, element = size_of(args.call.output.dtype), channels = pixels[3];
  const int64_t height = pixels[1] / r, width = pixels[2] / r;
  int64_t low = 0;
  for (int64_t b = 0; b < pixels[0]; ++b)
    for (int64_t h = 0; h < height; ++h)
      for (int64_t w = 0; w < width; ++w)
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t i = 0; i < r; ++i)
            for (int64_t j = 0; j < r; ++j, ++low) {
              const int64_t high = ((b * pixels[1] + h * r + i) * pixels[2] + w * r + j) * channels + c;
              const int64_t from = attrs.inverse ? high : low, to = attrs.inverse ? low : high;
              std::memcpy(static_cast<std::byte*>(args.output) + to * element,
                          static_cast<const std::byte*>(args.inputs[0]) + from * element, static_cast<size_t>(element));
            }
}

}  // namespace

EASEL_KERNEL(pixel_shuffle_rows) = {.name = "rows", .reject = reject_rows, .run = run_rows};
EASEL_KERNEL(pixel_shuffle_reference) = {.name = "reference", .reject = reject, .run = run};

}  // namespace easel::ops
