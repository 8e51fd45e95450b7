// Pictures in bands against the same pictures as a whole, on the network that needs them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "exec/session.h"
#include "models/autoencoder_kl.h"
#include "tensor/test_tensors.h"

namespace easel::exec {
namespace {

class SeededWeights : public WeightSource {
 public:
  explicit SeededWeights(const graph::Graph& graph) {
    for (const graph::Value& value : graph.values())
      if (value.constant && value.constant->kind() == graph::Constant::Kind::weight)
        shapes_[value.constant->weight_name()] = value.constant->shape();
  }
  Tensor load(const std::string& name) const override {
    const Shape& shape = shapes_.at(name);
    std::mt19937 random(static_cast<uint32_t>(std::hash<std::string>()(name)));
    const auto fan_in = static_cast<float>(shape.numel() / std::max<int64_t>(1, shape[0]));
    std::normal_distribution<float> normal(shape.rank() == 1 ? 0.5f : 0.0f,
                                           shape.rank() == 1 ? 0.2f : 1 / std::sqrt(fan_in));
    Tensor out = Tensor::empty(DType::f32, shape);
    for (float& value : out.span<float>()) value = normal(random);
    return out;
  }
  std::string description() const override { return "seeded"; }

 private:
  std::map<std::string, Shape> shapes_;
};

models::AutoencoderKLConfig config() {
  models::AutoencoderKLConfig out;
  out.block_out_channels = {32, 64, 64};
  out.layers_per_block = 1;
  out.norm_num_groups = 8;
  return out;
}

struct Outcome {
  Tensor result;
  int64_t arena_bytes;
  size_t commands;
};

Outcome run(const graph::Graph& graph, const Bindings& sizes, const CompileOptions& like, BandOptions bands,
            int threads = 2) {
  const auto context = std::make_shared<device::Context>(threads);
  WeightStore store(std::make_shared<SeededWeights>(graph), context);
  CompileOptions options = like;
  options.bindings = sizes;
  options.bands = bands;
  Session session(compile(graph, store, context, options));
  const Tensor input = session.tensor(graph.value(graph.inputs()[0]).name);
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.3f, 1);
  for (float& value : input.span<float>()) value = normal(random);
  session.run();
  const ProgramSummary& summary = session.program().summary();
  return {session.tensor(graph.outputs()[0].name).clone(), summary.arena_bytes, summary.commands};
}

constexpr int64_t kBand = 64 << 10;

class BandsTest : public testing::TestWithParam<DType> {
 protected:
  CompileOptions options() const {
    CompileOptions out;
    out.precision = GetParam();
    return out;
  }
};

TEST_P(BandsTest, DecodingInBandsChangesNoBit) {
  const graph::Graph decoder = models::autoencoder_kl_decoder(config());
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{32, 24}, {33, 20}, {21, 40}}) {
    const Bindings sizes = {{"batch", 1}, {"height", height}, {"width", width}};
    const Outcome whole = run(decoder, sizes, options(), {});
    const Outcome banded = run(decoder, sizes, options(), {.band_bytes = kBand});
    EXPECT_TRUE(same_bits(whole.result, banded.result)) << height << "×" << width;
    EXPECT_GT(banded.commands, 2 * whole.commands);
    if (height == 32) {
      // In bf16 hardly any picture is left that bands could save.
      const double most = GetParam() == DType::bf16 ? 1.02 : 0.85;
      EXPECT_LT(static_cast<double>(banded.arena_bytes), most * static_cast<double>(whole.arena_bytes));
    }
    EXPECT_TRUE(same_bits(whole.result, run(decoder, sizes, options(), {.band_bytes = kBand}, 3).result));
  }
}

TEST_P(BandsTest, EncodingInBandsChangesNoBit) {
  const graph::Graph encoder = models::autoencoder_kl_encoder(config());
  const Bindings sizes = {{"batch", 1}, {"height", 132}, {"width", 96}};
  const Outcome whole = run(encoder, sizes, options(), {}),
                banded = run(encoder, sizes, options(), {.band_bytes = kBand});
  EXPECT_TRUE(same_bits(whole.result, banded.result));
  // With bf16 between the layers of a block, norms work in place: bands have nothing left to save, and one to hold.
  EXPECT_LT(banded.arena_bytes, whole.arena_bytes + (GetParam() == DType::bf16 ? 2 * kBand : 0));
}

TEST_P(BandsTest, RecomputingTakesLessAndStaysClose) {
  const graph::Graph decoder = models::autoencoder_kl_decoder(config());
  const Bindings sizes = {{"batch", 1}, {"height", 32}, {"width", 24}};
  const Outcome whole = run(decoder, sizes, options(), {}),
                banded = run(decoder, sizes, options(), {.band_bytes = kBand});
  const Outcome recomputed = run(decoder, sizes, options(), {.band_bytes = kBand, .recompute_elements = 1 << 19});
  EXPECT_LT(relative_l2(recomputed.result, whole.result), GetParam() == DType::f32 ? 2e-6 : 4e-3);
  EXPECT_LT(recomputed.arena_bytes, banded.arena_bytes);
  EXPECT_TRUE(
      same_bits(recomputed.result,
                run(decoder, sizes, options(), {.band_bytes = kBand, .recompute_elements = 1 << 19}, 3).result));
}

// Bands just small enough for f32 pictures to be made in them, but not for norms of these in bf16.
TEST_P(BandsTest, ASmallNormMayReadWhatIsMadeInBands) {
  const graph::Graph decoder = models::autoencoder_kl_decoder(config());
  const Bindings sizes = {{"batch", 1}, {"height", 32}, {"width", 24}};
  const Outcome whole = run(decoder, sizes, options(), {});
  for (int64_t band = kBand; band <= kBand << 6; band *= 2) {
    const Outcome recomputed = run(decoder, sizes, options(), {.band_bytes = band, .recompute_elements = 1 << 19});
    EXPECT_LT(relative_l2(recomputed.result, whole.result), GetParam() == DType::f32 ? 2e-6 : 4e-3) << band;
  }
}

TEST_P(BandsTest, PicturesOfABatchStayWhole) {
  const graph::Graph decoder = models::autoencoder_kl_decoder(config());
  const Bindings sizes = {{"batch", 2}, {"height", 16}, {"width", 16}};
  const Outcome whole = run(decoder, sizes, options(), {}),
                asked = run(decoder, sizes, options(), {.band_bytes = kBand});
  EXPECT_EQ(whole.commands, asked.commands);
  EXPECT_TRUE(same_bits(whole.result, asked.result));
}

TEST(Bands, ReferenceKernelsStayWhole) {
  const graph::Graph decoder = models::autoencoder_kl_decoder(config());
  const Bindings sizes = {{"batch", 1}, {"height", 16}, {"width", 8}};
  CompileOptions options;
  options.reference_kernels = true;
  const Outcome reference = run(decoder, sizes, options, {.band_bytes = kBand});
  const Outcome banded = run(decoder, sizes, {}, {.band_bytes = kBand});
  EXPECT_LT(relative_l2(banded.result, reference.result), 2e-6);
}

std::string name_of(const testing::TestParamInfo<DType>& info) { return std::string(to_string(info.param)); }

INSTANTIATE_TEST_SUITE_P(Precisions, BandsTest, testing::Values(DType::f32, DType::bf16, DType::f16), name_of);

}  // namespace
}  // namespace easel::exec
