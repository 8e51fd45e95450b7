#include "tensor/block_format.h"

#include <bit>

#include <easel/half.h>

#include "tensor/block_decode.h"
#include "tensor/convert.h"

namespace easel {

namespace {

struct Layout {
  BlockFormat format;
  const char* name;
  int elements, bytes;
};
constexpr Layout kLayouts[] = {{BlockFormat::none, "", 1, 0},
                               {BlockFormat::q4_0, "q4_0", 32, 18},
                               {BlockFormat::q4_1, "q4_1", 32, 20},
                               {BlockFormat::q5_0, "q5_0", 32, 22},
                               {BlockFormat::q5_1, "q5_1", 32, 24},
                               {BlockFormat::q8_0, "q8_0", 32, 34},
                               {BlockFormat::q2_k, "q2_k", 256, 84},
                               {BlockFormat::q3_k, "q3_k", 256, 110},
                               {BlockFormat::q4_k, "q4_k", 256, 144},
                               {BlockFormat::q5_k, "q5_k", 256, 176},
                               {BlockFormat::q6_k, "q6_k", 256, 210},
                               {BlockFormat::iq4_nl, "iq4_nl", 32, 18},
                               {BlockFormat::iq4_xs, "iq4_xs", 256, 136},
                               {BlockFormat::f8_e4m3, "f8_e4m3", 1, 1},
                               {BlockFormat::f8_e5m2, "f8_e5m2", 1, 1}};

const Layout& layout(BlockFormat format) noexcept { return kLayouts[static_cast<size_t>(format)]; }

// One block; T: float, or double for references.
template <typename T>
struct Scalar {
  using Int = int;
  using Real = T;
  const uint8_t* block;
  int byte(int j) const { return block[j]; }
  int signed_byte(int j) const { return static_cast<int8_t>(block[j]); }
  static T real(int q) { return static_cast<T>(q); }
  static T half(int bits) { return f16_to_float(static_cast<uint16_t>(bits)); }
  static T iq4(int q) { return kIq4Values[q]; }
};

template <typename T>
void decode(BlockFormat format, const void* blocks, T* out, int64_t count) noexcept {
  static_assert(std::endian::native == std::endian::little);
  const auto* block = static_cast<const uint8_t*>(blocks);
  const Layout& l = layout(format);
  if (l.elements == 1) {
    for (int64_t i = 0; i < count; ++i)
      out[i] = format == BlockFormat::f8_e4m3 ? f8_e4m3_to_float(block[i]) : f8_e5m2_to_float(block[i]);
    return;
  }
  for (int64_t done = 0; done + l.elements <= count; done += l.elements, block += l.bytes, out += l.elements)
    decode_block(format, Scalar<T>{block}, [&](int i, T even, T odd) {
      out[i] = even;
      out[i + 1] = odd;
    });
}

}  // namespace

int64_t block_elements(BlockFormat format) noexcept { return layout(format).elements; }
int64_t block_bytes(BlockFormat format) noexcept { return layout(format).bytes; }
std::string_view to_string(BlockFormat format) noexcept { return layout(format).name; }

std::optional<BlockFormat> block_format_from_name(std::string_view name) noexcept {
  for (const BlockFormat format : kBlockFormats)
    if (to_string(format) == name) return format;
  return std::nullopt;
}

void dequantize(BlockFormat format, const void* blocks, float* out, int64_t count) noexcept {
  decode(format, blocks, out, count);
}
void dequantize(BlockFormat format, const void* blocks, double* out, int64_t count) noexcept {
  decode(format, blocks, out, count);
}

BlockFormat element_format(DType dtype) noexcept {
  return dtype == DType::f8_e4m3   ? BlockFormat::f8_e4m3
         : dtype == DType::f8_e5m2 ? BlockFormat::f8_e5m2
                                   : BlockFormat::none;
}

int64_t bytes_in_blocks(BlockFormat format, int64_t count) noexcept {
  return count / block_elements(format) * block_bytes(format);
}

}  // namespace easel
