#include "check.h"
#include "io/gguf.h"

#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace easel;
  const auto bytes = std::as_bytes(std::span(data, size));
  fuzz::holds([&] {
    const io::TensorListing file = io::read_gguf(bytes, "fuzz");
    uint64_t reached = 0;
    for (const io::TensorInfo& info : file.tensors) {
      fuzz::require(info.begin >= reached && info.end >= info.begin, "tensors follow each other");
      reached = info.end;
      fuzz::require(info.end <= size - file.data_offset, "tensors lie in the file");
      fuzz::require(io::encoded_bytes(info.dtype, info.format, info.shape) == info.end - info.begin, "sizes agree");
      if (!info.packed()) continue;
      // Any bytes decode.
      std::vector<float> values(static_cast<size_t>(info.shape.numel()));
      dequantize(info.format, bytes.data() + file.data_offset + info.begin, values.data(), info.shape.numel());
    }
  });
  return 0;
}
