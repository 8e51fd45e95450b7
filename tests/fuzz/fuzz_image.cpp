#include "check.h"
#include "io/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace easel;
  fuzz::holds([&] {
    const io::Image image = io::decode_image(std::as_bytes(std::span(data, size)), "fuzz");
    fuzz::require(image.width > 0 && image.height > 0, "the picture has a size");
    fuzz::require(image.pixels.size() == static_cast<size_t>(image.width * image.height * 3), "the picture is whole");
  });
  return 0;
}
