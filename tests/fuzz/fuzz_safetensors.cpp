#include "check.h"
#include "io/fp8_scales.h"
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
    io::TensorListing listing;
    listing.tensors = header.tensors;
    listing.data_offset = header.data_offset;
    io::take_fp8_scales(listing, std::as_bytes(std::span(data, size)), "fuzz");
    fuzz::require(listing.tensors.size() + listing.absorbed.size() == header.tensors.size(),
                  "every tensor is somewhere");
    for (const io::TensorInfo& tensor : listing.tensors) {
      const auto scales = static_cast<int64_t>(tensor.scales.size());
      fuzz::require(scales <= 1 || scales == tensor.shape[0], "one scale or one per row");
    }
  });
  return 0;
}
