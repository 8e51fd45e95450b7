// A prompt has 77 tokens, so looking rows up one by one is all this operator needs.
#include <algorithm>
#include <cstring>

#include "ops/isa.h"
#include "tensor/convert.h"

namespace easel::ops {

namespace {

const char* reject(const OpCall& call) noexcept {
  const ArgType &ids = call.inputs[0], &table = call.inputs[1];
  if (table.dtype != DType::f32 && table.dtype != DType::f16 && table.dtype != DType::bf16)
    return "needs a table of f32, f16 or bf16";
  if (!ids.contiguous()) return "needs contiguous ids";
  return table.shape[1] == 1 || table.strides[1] == 1 ? nullptr : "needs contiguous rows";
}

void run(const KernelArgs& args) noexcept {
  const ArgType &ids = args.call.inputs[0], &table = args.call.inputs[1];
  const int64_t rows = table.shape[0], columns = table.shape[1], count = ids.shape.numel();
  float* y = static_cast<float*>(args.output);
  for (int64_t i = 0; i < count && rows > 0; ++i) {
    int32_t id;
    std::memcpy(&id, static_cast<const std::byte*>(args.inputs[0]) + i * static_cast<int64_t>(sizeof id), sizeof id);
    const int64_t row = std::clamp<int64_t>(id, 0, rows - 1);
    convert_to_f32(static_cast<const std::byte*>(args.inputs[1]) + row * table.strides[0] * size_of(table.dtype),
                   table.dtype, y + i * columns, columns);
  }
}

}  // namespace

EASEL_KERNEL(embedding_reference) = {.name = "reference", .reject = reject, .run = run};

}  // namespace easel::ops
