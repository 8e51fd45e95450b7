#include "check.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace easel;
  fuzz::holds([&] {
    const io::SafetensorsHeader header =
        io::parse_safetensors_header(std::as_bytes(std::span(data, size)), size, "fuzz");
    uint64_t reached = 0;
    for (const io::TensorInfo& tensor : header.tensors) {
      fuzz::require(tensor.begin == reached, "tensors follow each other");
      reached = tensor.end;
      const auto bytes = static_cast<uint64_t>(tensor.shape.numel() * size_of(tensor.dtype));
      fuzz::require(bytes == tensor.end - tensor.begin, "sizes agree");
    }
    fuzz::require(header.data_offset + reached == size, "the file is covered");
  });
  return 0;
}
