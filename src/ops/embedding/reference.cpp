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
  if (table.encoding != BlockFormat::none && !table.contiguous()) return "blocks are not row by row";
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
    float* out = y + i * columns;
    const auto* from = static_cast<const std::byte*>(args.inputs[1]);
    if (table.encoding == BlockFormat::none) {
      convert_to_f32(from + row * table.strides[0] * size_of(table.dtype), table.dtype, out, columns);
      continue;
    }
    dequantize(table.encoding, from + row * bytes_in_blocks(table.encoding, columns), out, columns);
    for (int64_t k = 0; k < columns && table.dtype != DType::f32; ++k) {
      uint16_t narrow;
      convert_from_f32(out + k, &narrow, table.dtype, 1);
      convert_to_f32(&narrow, table.dtype, out + k, 1);
    }
  }
}

}  // namespace

EASEL_KERNEL(embedding_reference) = {.name = "reference", .reject = reject, .run = run};

}  // namespace easel::ops
