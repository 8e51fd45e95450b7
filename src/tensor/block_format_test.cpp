// The packed formats and fp8 against what the gguf package and torch make of the same numbers.
#include "tensor/block_format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "io/safetensors.h"
#include "tensor/convert.h"

namespace easel {
namespace {

const io::SafetensorsFile& golden() {
  static const auto file = io::SafetensorsFile::open(EASEL_SOURCE_DIR "/tests/goldens/formats/blocks.safetensors");
  return file;
}
Tensor golden(const std::string& name) { return golden().tensor(name).clone(); }

TEST(BlockFormat, NamesAndSizes) {
  for (const BlockFormat format : kBlockFormats) {
    EXPECT_EQ(block_format_from_name(to_string(format)), format);
    const Tensor blocks = golden(std::string(to_string(format)) + ".blocks");
    EXPECT_EQ(blocks.numel() % block_bytes(format), 0);
    EXPECT_EQ(blocks.numel() / block_bytes(format) * block_elements(format), 512);
  }
  EXPECT_EQ(block_format_from_name("q9_9"), std::nullopt);
  EXPECT_EQ(block_format_from_name(""), std::nullopt);
}

TEST(BlockFormat, DecodesBitForBit) {
  for (const BlockFormat format : kBlockFormats) {
    const std::string name(to_string(format));
    const Tensor blocks = golden(name + ".blocks"), values = golden(name + ".values");
    std::vector<float> found(static_cast<size_t>(values.numel()));
    dequantize(format, blocks.raw(), found.data(), values.numel());
    EXPECT_EQ(std::memcmp(found.data(), values.raw(), static_cast<size_t>(values.bytes())), 0) << name;
  }
}

TEST(BlockFormat, EncodesBitForBit) {
  const Tensor source = golden("source");
  for (const char* name : {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0"}) {
    const Tensor expected = golden(std::string(name) + ".quantized");
    std::vector<std::byte> found(static_cast<size_t>(expected.numel()));
    quantize(*block_format_from_name(name), source.data<float>(), found.data(), source.numel());
    EXPECT_EQ(std::memcmp(found.data(), expected.raw(), found.size()), 0) << name;
  }
}

// Relative L2 of normal numbers; of q8_0 … q4_0 these are what the reference's encoder reaches too.
TEST(BlockFormat, EncodingLosesLittle) {
  const Tensor source = golden("source");
  const auto loss_of = [&](BlockFormat format) {
    const auto values = source.span<float>().subspan(256, 768);
    std::vector<std::byte> blocks(static_cast<size_t>(768 / block_elements(format) * block_bytes(format)));
    std::vector<float> back(768);
    quantize(format, values.data(), blocks.data(), 768);
    dequantize(format, blocks.data(), back.data(), 768);
    double error = 0, norm = 0;
    for (size_t i = 0; i < back.size(); ++i) {
      error += std::pow(back[i] - values[i], 2);
      norm += std::pow(values[i], 2);
    }
    return std::sqrt(error / norm);
  };
  EXPECT_LT(loss_of(BlockFormat::q8_0), 0.006);
  EXPECT_LT(loss_of(BlockFormat::q6_k), 0.02);
  EXPECT_LT(loss_of(BlockFormat::q5_k), 0.04);
  EXPECT_LT(loss_of(BlockFormat::q4_k), 0.075);
  EXPECT_LT(loss_of(BlockFormat::iq4_nl), 0.08);
  EXPECT_LT(loss_of(BlockFormat::iq4_xs), 0.085);
  EXPECT_LT(loss_of(BlockFormat::q3_k), 0.16);
  EXPECT_LT(loss_of(BlockFormat::q2_k), 0.3);
  // The search is worth its time: better than the plain formats of the same number of bits.
  EXPECT_LT(loss_of(BlockFormat::q5_k), loss_of(BlockFormat::q5_0));
  EXPECT_LT(loss_of(BlockFormat::q4_k), loss_of(BlockFormat::q4_0));
  EXPECT_LT(loss_of(BlockFormat::iq4_nl), loss_of(BlockFormat::q4_0));
}

TEST(BlockFormat, EncodesWhatIsOnTheEdge) {
  for (const BlockFormat format : kBlockFormats) {
    if (!can_quantize(format)) continue;
    for (const float value : {0.0f, -0.0f, 1.0f, -7.5f, 1e-30f, 1e-42f, 60000.0f}) {
      const std::vector<float> values(256, value);
      std::vector<std::byte> blocks(static_cast<size_t>(256 / block_elements(format) * block_bytes(format)));
      std::vector<float> back(256, 99);
      quantize(format, values.data(), blocks.data(), 256);
      dequantize(format, blocks.data(), back.data(), 256);
      for (const float found : back)
        EXPECT_NEAR(found, value, std::fabs(value) * 0.1 + 1e-7) << to_string(format) << " " << value;
    }
  }
}

TEST(Float8, RoundsAsTorch) {
  const Tensor source = golden("fp8.source"), e4m3 = golden("fp8.e4m3"), e5m2 = golden("fp8.e5m2");
  for (int64_t i = 0; i < source.numel(); ++i) {
    const float value = source.data<float>()[i];
    const uint8_t four = e4m3.data<uint8_t>()[i], five = e5m2.data<uint8_t>()[i];
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f8_e4m3_to_float(f8_e4m3_from_float(value))));
      EXPECT_TRUE(std::isnan(f8_e5m2_to_float(f8_e5m2_from_float(value))));
      continue;
    }
    EXPECT_EQ(f8_e4m3_from_float(value), four) << value;
    EXPECT_EQ(f8_e5m2_from_float(value), five) << value;
  }
}

}  // namespace
}  // namespace easel
