#include <cmath>

#include "ops/activation/exact.h"
#include "ops/group_norm/bands.h"
#include "ops/isa.h"
#include "ops/parts.h"
#include "tensor/convert.h"

namespace easel::ops {

namespace {

const char* reject(const OpCall& call) noexcept {
  if (group_norm_form(call) != GroupNormForm::whole) return "needs the whole picture";
  for (const ArgType& input : call.inputs) {
    const bool picture = &input == call.inputs.data();
    if (input.dtype != DType::f32 && !(picture && input.dtype == DType::bf16)) return "needs f32, or a picture in bf16";
    if (!input.contiguous()) return "needs contiguous rows";
  }
  return nullptr;
}

void run(const KernelArgs& args) noexcept {
  const Shape& shape = args.call.output.shape;
  const auto& attrs = args.call.as<GroupNormAttrs>();
  const int64_t channels = shape.back(), positions = product(shape, 1, shape.rank() - 1);
  const int64_t width = channels / attrs.groups;
  const float* weight = static_cast<const float*>(args.inputs[1]);
  const float* bias = static_cast<const float*>(args.inputs[2]);
  for (int64_t picture = 0; picture < shape[0]; ++picture)
    for (int64_t group = 0; group < attrs.groups; ++group) {
      const int64_t first = picture * positions * channels + group * width;
      const auto x = [&](int64_t i) { return load_as_double(args.inputs[0], args.call.inputs[0].dtype, first + i); };
      double mean = 0, variance = 0;
      const auto each = [&](auto&& body) {
        for (int64_t p = 0; p < positions; ++p)
          for (int64_t c = 0; c < width; ++c) body(p * channels + c, c);
      };
      const auto count = static_cast<double>(positions * width);
      each([&](int64_t i, int64_t) { mean += x(i); });
      mean /= count;
      each([&](int64_t i, int64_t) { variance += (x(i) - mean) * (x(i) - mean); });
      const double factor = 1 / std::sqrt(variance / count + attrs.eps);
      each([&](int64_t i, int64_t c) {
        const double value = (x(i) - mean) * factor * weight[group * width + c] + bias[group * width + c];
        store_from_double(args.output, args.call.output.dtype, first + i, activate_exactly(attrs.activation, value));
      });
    }
}

}  // namespace

EASEL_KERNEL(group_norm_reference) = {.name = "reference", .reject = reject, .run = run, .in_place = 1};

}  // namespace easel::ops
