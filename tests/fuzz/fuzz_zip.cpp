#include "check.h"
#include "io/pytorch.h"
#include "io/zip_archive.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace easel;
  const auto bytes = std::as_bytes(std::span(data, size));
  fuzz::holds([&] {
    uint64_t sum = 0;
    for (const auto& [name, entry] : io::read_zip_directory(bytes, "fuzz")) {
      fuzz::require(entry.begin <= size && entry.size <= size - entry.begin, "entries lie in the archive");
      fuzz::require(!name.empty() && name[0] != '/', "names are relative");
      sum += entry.size;
    }
    fuzz::require(sum <= size, "entries do not overlap");
  });
  fuzz::holds([&] {
    for (const io::TensorInfo& info : io::read_pytorch_zip(bytes, "fuzz").tensors) {
      fuzz::require(info.begin <= info.end && info.end <= size, "tensors lie in the file");
      fuzz::require(static_cast<uint64_t>(info.shape.numel() * size_of(info.dtype)) <= size, "no tensor grows");
    }
  });
  return 0;
}
