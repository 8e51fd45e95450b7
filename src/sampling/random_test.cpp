#include "sampling/random.h"

#include <numeric>

#include "sampling/golden_test.h"

namespace easel::sampling {
namespace {

// Python's int of any sign, as torch keeps it.
uint64_t seed_of(const std::string& text) {
  return text[0] == '-' ? static_cast<uint64_t>(std::stoll(text)) : std::stoull(text);
}

TEST(TorchGenerator, EqualsTorchBitForBit) {
  const nlohmann::json golden = load_golden("random.json");
  ASSERT_GE(golden.at("cases").size(), 8u);
  for (const auto& c : golden["cases"]) {
    const std::string seed = c["seed"].get<std::string>();
    TorchGenerator generator(seed_of(seed));
    for (const auto& call : c["calls"]) {
      std::vector<float> values(call["n"].get<size_t>());
      generator.randn(values);
      uint64_t sum = 0, weighted = 0;
      for (size_t j = 0; j < values.size(); ++j) {
        const uint64_t bits = std::bit_cast<uint32_t>(values[j]);
        sum += bits;
        weighted += bits * (j + 1);
      }
      SCOPED_TRACE("seed " + seed + ", n = " + std::to_string(values.size()));
      EXPECT_EQ(std::to_string(sum), call["sum"].get<std::string>());
      EXPECT_EQ(std::to_string(weighted), call["weighted"].get<std::string>());
      if (!call.contains("bits")) continue;
      const std::vector<float> expected = floats_of(call["bits"].get<std::string>());
      ASSERT_EQ(values.size(), expected.size());
      for (size_t j = 0; j < values.size(); ++j)
        EXPECT_EQ(std::bit_cast<uint32_t>(values[j]), std::bit_cast<uint32_t>(expected[j])) << "at " << j;
    }
  }
}

TEST(TorchGenerator, PublishedValues) {
  TorchGenerator generator(42);
  std::vector<float> values(4);
  generator.randn(values);  // short draws differ from long ones
  EXPECT_NEAR(values[0], 0.3367, 1e-4);
  TorchGenerator other(42);
  values.resize(16);
  other.randn(values);
  EXPECT_NEAR(values[0], 1.9269, 1e-4);
  EXPECT_NEAR(values[1], 1.4873, 1e-4);
  EXPECT_NEAR(values[2], 0.9007, 1e-4);
  EXPECT_NEAR(values[3], -2.1055, 1e-4);
}

TEST(TorchGenerator, CopiesContinueFromTheSameState) {
  TorchGenerator a(3);
  std::vector<float> x(7), y(7);
  a.randn(x);  // leaves a cached sine
  TorchGenerator b = a;
  a.randn(x);
  b.randn(y);
  EXPECT_EQ(x, y);
  a.randn(x);
  EXPECT_NE(x, y);
}

TEST(TorchGenerator, EmptyDrawLeavesTheStateAlone) {
  TorchGenerator a(5), b(5);
  a.randn({});
  EXPECT_EQ(a.next(), b.next());
}

}  // namespace
}  // namespace easel::sampling
