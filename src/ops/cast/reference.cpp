#include <cmath>
#include <limits>

#include "ops/isa.h"
#include "tensor/convert.h"

namespace easel::ops {

namespace {

const char* reject(const OpCall& call) noexcept {
  if (call.output.dtype == DType::f8_e4m3 || call.output.dtype == DType::f8_e5m2) return "cannot write f8";
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}

struct Range {
  double low, high;  // `high` is the first number beyond
};

Range range_of(DType dtype) {
  switch (dtype) {
    case DType::i64: return {-0x1p63, 0x1p63};
    case DType::i32: return {-0x1p31, 0x1p31};
    case DType::i16: return {-0x1p15, 0x1p15};
    case DType::i8: return {-0x1p7, 0x1p7};
    case DType::u64: return {0, 0x1p64};
    case DType::u32: return {0, 0x1p32};
    case DType::u16: return {0, 0x1p16};
    default: return {0, 0x1p8};
  }
}

// To integers: toward zero; the nearest end where the type does not reach; NaN becomes 0. (Doubles hold whole numbers
// up to 2⁵³, which is enough for ids and timesteps.)
double fit(double value, DType dtype) {
  if (is_floating(dtype) || dtype == DType::boolean) return value;
  if (std::isnan(value)) return 0;
  const Range range = range_of(dtype);
  if (value <= range.low) return range.low;
  return value >= range.high ? std::min(range.high - 1, std::nextafter(range.high, 0.0)) : std::trunc(value);
}

void run(const KernelArgs& args) noexcept {
  const DType from = args.call.inputs[0].dtype, to = args.call.output.dtype;
  const int64_t count = args.call.output.shape.numel();
  for (int64_t i = 0; i < count; ++i)
    store_from_double(args.output, to, i, fit(load_as_double(args.inputs[0], from, i), to));
}

}  // namespace

EASEL_KERNEL(cast_reference) = {.name = "reference", .reject = reject, .run = run};

}  // namespace easel::ops
