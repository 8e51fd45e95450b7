#include "sampling/noise.h"

#include <cmath>
#include <numeric>

#include <easel/error.h>

#include "sampling/brownian.h"
#include "sampling/golden_test.h"
#include "sampling/philox.h"
#include "sampling/random.h"
#include "sampling/toy_test.h"

namespace easel::sampling {
namespace {

const Shape kShape{3, 4, 5, 5};
constexpr size_t kSize = 300, kItem = 100;

std::vector<float> first_of(const NoiseOptions& options) {
  std::vector<float> out(kSize);
  make_noise(options, kShape)->first(out);
  return out;
}

template <typename Generator>
std::vector<float> drawn(Generator generator, size_t count) {
  std::vector<float> out(count);
  generator.randn(out);
  return out;
}

// The published test vectors of Philox4x32-10 (Random123, kat_vectors).
TEST(Philox, KnownAnswers) {
  using Block = std::array<uint32_t, 4>;
  constexpr uint32_t f = 0xffffffffu;
  EXPECT_EQ(PhiloxGenerator::block({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(PhiloxGenerator::block({f, f, f, f}, {f, f}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(PhiloxGenerator::block({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, FollowsTorchsAlgorithm) {
  const nlohmann::json golden = load_golden("philox.json");
  for (const auto& c : golden.at("cases")) {
    PhiloxGenerator generator(std::stoull(c["seed"].get<std::string>()));
    for (const auto& call : c["calls"]) {
      std::vector<float> out(call["n"].get<size_t>());
      generator.randn(out);
      const auto near = [&](const std::vector<float>& want, size_t begin) {
        for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(out[begin + i], want[i], 2e-6) << call["n"] << " " << i;
      };
      near(floats_of(call["first"].get<std::string>()), 0);
      const auto last = floats_of(call["last"].get<std::string>());
      near(last, out.size() - last.size());
      EXPECT_NEAR(std::accumulate(out.begin(), out.end(), 0.0), call["sum"].get<double>(), 1e-2);
    }
  }
}

TEST(Brownian, FollowsTheReference) {
  const nlohmann::json golden = load_golden("brownian.json");
  for (const auto& c : golden.at("cases")) {
    const uint64_t seed = std::stoull(c["seed"].get<std::string>());
    for (const auto& state : c["states"]) {
      const auto key = state["key"].get<std::vector<uint64_t>>();
      const auto got = seed_sequence(seed, key);
      EXPECT_EQ(std::vector<uint32_t>(got.begin(), got.end()), state["state"].get<std::vector<uint32_t>>());
    }
    const GeneratorNoise normals(0);
    BrownianTree tree(c["low"].get<double>(), c["high"].get<double>(), seed, 20, normals);
    const auto points = c["points"].get<std::vector<double>>();
    for (size_t i = 0; i + 1 < points.size(); ++i) {
      std::vector<float> out(20);
      tree.noise(points[i], points[i + 1], out);
      EXPECT_LT(relative_l2(out, floats_of(c["noise"][i].get<std::string>())), 1e-6) << seed << " " << i;
    }
  }
}

TEST(Brownian, IsOnePathWhateverIsAsked) {
  const GeneratorNoise normals(0);
  BrownianTree tree(0.1, 10, 77, 50, normals), other(0.1, 10, 77, 50, normals);
  std::vector<float> whole(50), left(50), right(50), again(50);
  tree.noise(8, 2, whole);
  tree.noise(8, 3.3, left);
  tree.noise(3.3, 2, right);
  for (size_t j = 0; j < whole.size(); ++j)
    EXPECT_NEAR(left[j] * std::sqrt(4.7f) + right[j] * std::sqrt(1.3f), whole[j] * std::sqrt(6.0f), 1e-5);
  other.noise(3.3, 2, again);
  EXPECT_EQ(again, right);
  tree.noise(2, 8, again);  // the other way round
  for (size_t j = 0; j < whole.size(); ++j) EXPECT_EQ(again[j], -whole[j]);
  tree.noise(5, 5 + 1e-9, again);
  for (const float value : again) EXPECT_EQ(value, 0);
  tree.noise(100, 0, again);  // clamped to the ends
  tree.noise(10, 0.1, whole);
  for (size_t j = 0; j < whole.size(); ++j) EXPECT_NEAR(again[j] * 10, whole[j] * std::sqrt(9.9f), 1e-4);
}

TEST(Noise, RulesOfThePrograms) {
  NoiseOptions options;
  options.seed = 42;
  const TorchGenerator torch(42);
  EXPECT_EQ(first_of(options), drawn(torch, kSize));

  // diffusers: one generator goes on; ComfyUI: a generator of seed + 1 for the steps
  std::vector<float> step(kSize), skipped(kSize), want(kSize);
  TorchGenerator both(42);
  both.randn(skipped);
  both.randn(want);
  auto noise = make_noise(options, kShape);
  noise->first(skipped);
  noise->randn(step);
  EXPECT_EQ(step, want);
  options.source = RandomSource::comfy;
  EXPECT_EQ(first_of(options), drawn(torch, kSize));
  noise = make_noise(options, kShape);
  noise->first(skipped);
  noise->randn(step);
  EXPECT_EQ(step, drawn(TorchGenerator(43), kSize));

  options.source = RandomSource::cuda;
  EXPECT_EQ(first_of(options), drawn(PhiloxGenerator(42), kSize));

  // A1111: seed + i for image i
  for (const bool cpu : {false, true}) {
    options.source = cpu ? RandomSource::a1111_cpu : RandomSource::a1111;
    const auto all = first_of(options);
    for (size_t i = 0; i < 3; ++i) {
      const auto one = cpu ? drawn(TorchGenerator(42 + i), kItem) : drawn(PhiloxGenerator(42 + i), kItem);
      EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + static_cast<ptrdiff_t>(i * kItem)));
      EXPECT_EQ(image_seed(options, static_cast<int>(i)), 42 + i);
    }
    EXPECT_EQ(make_noise(options, kShape)->brownian_seeds(), (std::vector<uint64_t>{42, 43, 44}));
  }
}

TEST(Noise, EtaNoiseSeedDeltaMovesTheStepsAlone) {
  NoiseOptions options;
  options.source = RandomSource::a1111;
  options.seed = 10;
  const auto plain = first_of(options);
  options.eta_noise_seed_delta = 31337;
  EXPECT_EQ(first_of(options), plain);
  std::vector<float> step(kSize);
  make_noise(options, kShape)->randn(step);
  const auto second = drawn(PhiloxGenerator(10 + 31337 + 1), kItem);
  EXPECT_TRUE(std::equal(second.begin(), second.end(), step.begin() + kItem));
}

TEST(Noise, VariationsLieBetweenTwoSeeds) {
  NoiseOptions options;
  options.source = RandomSource::a1111_cpu;
  options.seed = 1;
  options.variation_seed = 500;
  options.variation_strength = 1e-9;
  const auto near = first_of(options), base = drawn(TorchGenerator(1), kItem);
  for (size_t i = 0; i < 3; ++i)  // the seed itself does not count up
    for (size_t j = 0; j < kItem; ++j) EXPECT_NEAR(near[i * kItem + j], base[j], 1e-6);
  EXPECT_EQ(image_seed(options, 2), 1u);
  options.variation_strength = 1;
  const auto far = first_of(options);
  for (size_t i = 0; i < 3; ++i) {
    const auto other = drawn(TorchGenerator(500 + i), kItem);
    for (size_t j = 0; j < kItem; ++j) EXPECT_NEAR(far[i * kItem + j], other[j], 1e-6);
  }
}

TEST(Noise, OneGeneratorHasVariationsToo) {
  NoiseOptions options;
  options.seed = 1;
  options.variation_seed = 500;
  options.variation_strength = 1;
  const auto far = first_of(options);
  for (size_t i = 0; i < 3; ++i) {
    const auto other = drawn(TorchGenerator(500 + i), kItem);
    for (size_t j = 0; j < kItem; ++j) EXPECT_NEAR(far[i * kItem + j], other[j], 1e-6);
  }
}

TEST(Noise, ThePosteriorIsDrawnFirstOrNotAtAll) {
  NoiseOptions options;
  options.seed = 4;
  std::vector<float> posterior(kItem), first(kSize);
  auto torch = make_noise(options, kShape);
  torch->posterior(posterior);
  torch->first(first);
  TorchGenerator generator(4);
  std::vector<float> expected(kItem), rest(kSize);
  generator.randn(expected);
  generator.randn(rest);
  EXPECT_EQ(posterior, expected);
  EXPECT_EQ(first, rest);
  options.source = RandomSource::comfy;
  make_noise(options, kShape)->posterior(posterior);
  EXPECT_EQ(posterior, std::vector<float>(kItem, 0.0f));
}

// Columns at a right angle: half way, both weigh sin 45°. Equal ones: nothing changes.
TEST(Noise, SlerpByHand) {
  const Shape shape{1, 2, 1};
  std::vector<float> a = {3, 0}, b = {0, 5};
  slerp(0.5, a, b, shape);
  EXPECT_NEAR(a[0], 3 * std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(a[1], 5 * std::sqrt(0.5), 1e-6);
  std::vector<float> c = {1, 2};
  slerp(0.3, c, std::vector<float>{1, 2}, shape);
  EXPECT_NEAR(c[0], 1, 1e-6);
  EXPECT_NEAR(c[1], 2, 1e-6);
}

TEST(Noise, BadOptionsAreNamed) {
  const auto refused = [](const NoiseOptions& options) {
    try {
      check_noise(options);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refused({}), "");
  EXPECT_NE(refused({.eta_noise_seed_delta = 3}).find("--rng"), std::string::npos);
  EXPECT_NE(refused({.source = RandomSource::a1111, .variation_strength = 1.5}).find("0 to 1"), std::string::npos);
  EXPECT_EQ(parse_random_source("a1111_cpu"), RandomSource::a1111_cpu);
  try {
    parse_random_source("a111");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("a1111"), std::string::npos);
  }
}

}  // namespace
}  // namespace easel::sampling
