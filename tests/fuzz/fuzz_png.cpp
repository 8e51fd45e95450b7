#include "check.h"
#include "io/png.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace easel;
  fuzz::holds([&] {
    const io::Png png = io::decode_png(std::as_bytes(std::span(data, size)), "fuzz");
    const io::Image& image = png.image;
    fuzz::require(image.pixels.size() == static_cast<size_t>(image.width * image.height * 3), "the picture is whole");
    if (image.pixels.size() > 1 << 16) return;
    fuzz::holds([&] {  // refuses the keywords and texts that the format does not allow
      const std::string again = io::encode_png(image, png.text);
      const io::Png read = io::decode_png(std::as_bytes(std::span(again.data(), again.size())), "again");
      fuzz::require(read.image.pixels == image.pixels, "pixels survive");
      fuzz::require(read.text == png.text, "text survives");
    });
  });
  return 0;
}
