#include "check.h"
#include "io/pickle.h"
#include "io/pytorch.h"

// A pickle by itself, and as the start of a legacy checkpoint.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace easel;
  const auto bytes = std::as_bytes(std::span(data, size));
  fuzz::holds([&] {
    const io::Pickle pickle(bytes, "fuzz");
    fuzz::require(pickle.size() <= size, "a pickle ends within the file");
    pickle.scalars();
    for (const io::PickledTensor& tensor : pickle.named_tensors("fuzz"))
      fuzz::require(tensor.shape.rank() == tensor.strides.rank(), "every axis has a stride");
  });
  fuzz::holds([&] {
    for (const io::TensorInfo& info : io::read_pytorch_legacy(bytes, "fuzz").tensors)
      fuzz::require(info.begin <= info.end && info.end <= size, "tensors lie in the file");
  });
  return 0;
}
