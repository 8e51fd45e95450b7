// Upscaling networks against torch, and pictures cut into tiles against whole ones.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include <easel/error.h>
#include <easel/upscaler.h>

#include "exec/session.h"
#include "io/json_file.h"
#include "io/safetensors.h"
#include "io/test_folder.h"
#include "pipelines/seeded_weights.h"
#include "pipelines/upscaler_files.h"
#include "tensor/test_tensors.h"

namespace easel {
namespace {

using nlohmann::json;

const std::string kFolder = EASEL_SOURCE_DIR "/tests/goldens/upscale/";

const json& entries() {
  static const json kEntries = io::read_json_file(kFolder + "index.json");
  return kEntries;
}

const json& entry(const std::string& name) {
  for (const json& found : entries())
    if (found["name"] == name) return found;
  throw Error(ErrorCode::internal, "no golden " + name);
}

Tensor golden(const std::string& name) {
  static const io::WeightFiles kFile = io::WeightFiles::open(kFolder + "goldens.safetensors");
  return kFile.tensor(name).clone();
}

pipelines::UpscalerConfig config_of(const json& golden) {
  const json& c = golden["config"];
  if (golden["kind"] == "SRVGG")
    return models::SRVGGNetConfig{.num_feat = c["nf"], .num_conv = c["convs"], .upscale = c["scale"]};
  return models::RRDBNetConfig{.num_feat = c["nf"],
                               .num_grow_ch = c["gc"],
                               .num_block = c["nb"],
                               .upsamplings = c["ups"],
                               .unshuffle = c["unshuffle"]};
}

std::vector<graph::Graph> graphs_of(const pipelines::UpscalerConfig& config) {
  if (const auto* rrdb = std::get_if<models::RRDBNetConfig>(&config))
    return {models::rrdb_net_body(*rrdb), models::rrdb_net_tail(*rrdb)};
  return {models::srvgg_net(std::get<models::SRVGGNetConfig>(config))};
}

// [B, H, W, C] through one graph after the other.
Tensor run(const std::vector<graph::Graph>& graphs, const std::shared_ptr<const exec::WeightSource>& weights, Tensor x,
           DType precision = DType::f32) {
  const auto context = std::make_shared<device::Context>(2);
  for (const graph::Graph& graph : graphs) {
    exec::WeightStore store(weights, context);
    exec::CompileOptions options;
    options.bindings = {{"batch", x.dim(0)}, {"height", x.dim(1)}, {"width", x.dim(2)}};
    options.precision = precision;
    exec::Session session(exec::compile(graph, store, context, options));
    session.set(graph.value(graph.inputs()[0]).name, x);
    session.run();
    x = session.tensor(graph.outputs()[0].name).clone();
  }
  return x;
}

class UpscalerGoldens : public testing::TestWithParam<size_t> {};

TEST_P(UpscalerGoldens, MatchTorch) {
  const json& golden_entry = entries()[GetParam()];
  const std::string name = golden_entry["name"];
  const std::vector<graph::Graph> graphs = graphs_of(config_of(golden_entry));
  const auto weights = std::make_shared<pipelines::SeededWeights>(graphs);
  const double bound = std::max(10 * golden_entry["jitter"].get<double>(), 2e-6);
  EXPECT_LT(relative_l2(run(graphs, weights, golden("in." + name)), golden("out." + name)), bound);
}

// bf16 keeps about 8 bits of each factor; thousands of layers deep or not, residuals stay in f32.
TEST_P(UpscalerGoldens, Bf16StaysNear) {
  const json& golden_entry = entries()[GetParam()];
  const std::string name = golden_entry["name"];
  const std::vector<graph::Graph> graphs = graphs_of(config_of(golden_entry));
  const auto weights = std::make_shared<pipelines::SeededWeights>(graphs);
  EXPECT_LT(relative_l2(run(graphs, weights, golden("in." + name), DType::bf16), golden("out." + name)), 2e-2);
}

TEST_P(UpscalerGoldens, FilesOfEveryNamingAreFound) {
  const json& golden_entry = entries()[GetParam()];
  const std::string name = golden_entry["name"];
  for (const std::string file : golden_entry["files"]) {
    const pipelines::UpscalerFiles files = pipelines::read_upscaler(kFolder + file);
    const std::vector<graph::Graph> expected = graphs_of(config_of(golden_entry)), found = graphs_of(files.config);
    ASSERT_EQ(found.size(), expected.size()) << file;
    for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].str(), expected[i].str()) << file;
    const double bound = std::max(10 * golden_entry["jitter"].get<double>(), 2e-6);
    EXPECT_LT(relative_l2(run(found, files.weights, golden("in." + name)), golden("out." + name)), bound) << file;
  }
}

INSTANTIATE_TEST_SUITE_P(All, UpscalerGoldens, testing::Range(size_t{0}, entries().size()),
                         [](const auto& info) { return entries()[info.param]["name"].template get<std::string>(); });

TEST(UpscalerGoldens, ABrokenWeightIsSeen) {
  const json& golden_entry = entry("rrdb_x4");
  const std::vector<graph::Graph> graphs = graphs_of(config_of(golden_entry));
  struct Broken : pipelines::SeededWeights {
    using SeededWeights::SeededWeights;
    Tensor load(const std::string& name) const override {
      Tensor out = SeededWeights::load(name);
      if (name == "body.1.rdb2.conv3.weight") out.data<float>()[5] += 0.5f;
      return out;
    }
  };
  EXPECT_GT(relative_l2(run(graphs, std::make_shared<Broken>(graphs), golden("in.rrdb_x4")), golden("out.rrdb_x4")),
            1e-4);
}

Pixels random_picture(int64_t width, int64_t height, int channels = 3) {
  std::mt19937 random(7);
  Pixels out{width, height, channels, std::vector<uint8_t>(static_cast<size_t>(width * height * channels))};
  for (uint8_t& sample : out.samples) sample = static_cast<uint8_t>(random() >> 24);
  return out;
}

Upscaler load(const std::string& file, int threads = 1) {
  UpscalerOptions options;
  options.precision = Precision::fp32;
  options.threads = threads;
  return Upscaler::load(kFolder + file, options);
}

TEST(Upscaler, ReadsSizesAndFactorOffTheTensors) {
  EXPECT_EQ(load("rrdb_x4.pth").info().scale, 4);
  EXPECT_EQ(load("rrdb_x2.safetensors").info().scale, 2);
  EXPECT_EQ(load("rrdb_x2_sequential.safetensors").info().scale, 2);
  EXPECT_EQ(load("compact_x4.pth").info().reach, 5);
  EXPECT_EQ(load("rrdb_x4.pth").info().architecture, "RRDBNet, 2 blocks of 8 features");
}

// The golden's picture as samples; the bands and roundings of upscale() around the network itself.
TEST(Upscaler, SamplesAreTheNetworksResult) {
  const Pixels picture = random_picture(9, 7);
  Tensor x = Tensor::empty(DType::f32, {1, 7, 9, 3});
  for (size_t i = 0; i < picture.samples.size(); ++i)
    x.data<float>()[i] = static_cast<float>(picture.samples[i]) / 255.0f;
  const std::vector<graph::Graph> graphs = graphs_of(config_of(entry("rrdb_x4")));
  const Tensor expected = run(graphs, std::make_shared<pipelines::SeededWeights>(graphs), x);
  const Pixels found = load("rrdb_x4.pth").upscale(picture);
  ASSERT_EQ(found.width, 36);
  ASSERT_EQ(found.height, 28);
  for (size_t i = 0; i < found.samples.size(); ++i) {
    const double value = std::clamp<double>(expected.data<float>()[i], 0, 1) * 255;
    ASSERT_NEAR(found.samples[i], value, 0.51) << i;
  }
}

TEST(Upscaler, ThreadsAndHistoryChangeNoBit) {
  const Pixels picture = random_picture(33, 21);
  Upscaler one = load("rrdb_x4.pth"), three = load("rrdb_x4.pth", 3);
  const Pixels expected = one.upscale(picture);
  one.upscale(random_picture(10, 50));
  EXPECT_EQ(one.upscale(picture).samples, expected.samples);
  EXPECT_EQ(three.upscale(picture).samples, expected.samples);
}

// Sums of convolutions do not depend on where a tile begins, but Winograd's do: small networks here are direct.
TEST(Upscaler, TilesThatReachFarEnoughLeaveNoTrace) {
  for (const char* file : {"compact_x4.pth", "compact_x2.safetensors"}) {
    Upscaler upscaler = load(file);
    const Pixels picture = random_picture(70, 45);
    const Pixels whole = upscaler.upscale(picture, {.tile = 0});
    int tiles = 0;
    const Pixels cut = upscaler.upscale(picture, {.tile = 16}, [&](const UpscaleProgress& p) { tiles = p.total; });
    EXPECT_GT(tiles, 8);
    EXPECT_EQ(cut.samples, whole.samples) << file;
  }
  Upscaler deep = load("rrdb_x2_sequential.safetensors");  // one block: it reaches 19 pixels
  const Pixels picture = random_picture(90, 33);
  const Pixels whole = deep.upscale(picture, {.tile = 0});
  EXPECT_EQ(deep.upscale(picture, {.tile = 20, .overlap = 19}).samples, whole.samples);
  EXPECT_NE(deep.upscale(picture, {.tile = 20, .overlap = 0}).samples, whole.samples) << "overlap 0 shows seams";
}

TEST(Upscaler, OddSidesOfANetworkThatHalvesAreMirrored) {
  Upscaler upscaler = load("rrdb_x2.safetensors");
  const Pixels odd = random_picture(11, 7);
  Pixels even{12, 8, 3, {}};
  for (int64_t y = 0; y < 8; ++y)
    for (int64_t x = 0; x < 12; ++x)
      for (int64_t c = 0; c < 3; ++c)
        even.samples.push_back(odd.samples[static_cast<size_t>(((y < 7 ? y : 5) * 11 + (x < 11 ? x : 9)) * 3 + c)]);
  const Pixels found = upscaler.upscale(odd), expected = upscaler.upscale(even);
  ASSERT_EQ(found.width, 22);
  ASSERT_EQ(found.height, 14);
  for (int64_t y = 0; y < 14; ++y)
    EXPECT_EQ(
        std::memcmp(&found.samples[static_cast<size_t>(y * 66)], &expected.samples[static_cast<size_t>(y * 72)], 66),
        0);
  const Pixels dot = upscaler.upscale(random_picture(1, 1));
  EXPECT_EQ(dot.width, 2);
}

TEST(Upscaler, AlphaIsAPictureOfItsOwn) {
  Upscaler upscaler = load("compact_x2.safetensors");
  Pixels picture = random_picture(12, 9, 4);
  Pixels colours{12, 9, 3, {}}, gray{12, 9, 3, {}};
  for (size_t i = 0; i < 12 * 9; ++i)
    for (size_t c = 0; c < 3; ++c) {
      colours.samples.push_back(picture.samples[4 * i + c]);
      gray.samples.push_back(picture.samples[4 * i + 3]);
    }
  const Pixels found = upscaler.upscale(picture), rgb = upscaler.upscale(colours), alpha = upscaler.upscale(gray);
  ASSERT_EQ(found.channels, 4);
  for (size_t i = 0; i < found.samples.size() / 4; ++i) {
    EXPECT_EQ(std::memcmp(&found.samples[4 * i], &rgb.samples[3 * i], 3), 0);
    const int mean = (alpha.samples[3 * i] + alpha.samples[3 * i + 1] + alpha.samples[3 * i + 2] + 1) / 3;
    EXPECT_EQ(found.samples[4 * i + 3], mean);
  }
  for (size_t i = 0; i < 12 * 9; ++i) picture.samples[4 * i + 3] = 77;
  const Pixels flat = upscaler.upscale(picture);
  for (size_t i = 0; i < flat.samples.size() / 4; ++i) EXPECT_EQ(flat.samples[4 * i + 3], 77);
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Upscaler, WrongFilesAndPicturesAreNamed) {
  const auto contains = [](const std::string& text, const std::string& piece) {
    EXPECT_NE(text.find(piece), std::string::npos) << text;
  };
  contains(message_of([] { Upscaler::load(EASEL_SOURCE_DIR "/tests/goldens/sd15/d/model.safetensors"); }),
           "expected an upscaler, found: Stable Diffusion 1.x");
  contains(message_of([] { Upscaler::load("/nowhere.pth"); }), "/nowhere.pth");
  Upscaler upscaler = load("compact_x4.pth");
  contains(message_of([&] { upscaler.upscale({0, 5, 3, {}}); }), "0×5");
  contains(message_of([&] { upscaler.upscale({5, 5, 3, {}}); }), "expected 5×5×3 samples");
  contains(message_of([&] { upscaler.upscale(random_picture(5, 5), {.tile = 3}); }),
           "--tile: expected 0, or at least 16");
  contains(message_of([&] { upscaler.upscale(random_picture(8193, 1)); }), "at most 8192 pixels a side");

  // A tensor too many, and one too few.
  const io::TestFolder folder;
  const io::WeightFiles source = io::WeightFiles::open(kFolder + "rrdb_x2.safetensors");
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const std::string& name : source.names()) tensors.emplace_back(name, source.tensor(name).clone());
  tensors.emplace_back("body.0.rdb1.conv1x1.weight", Tensor::zeros(DType::f32, {4, 8, 1, 1}));
  io::write_safetensors(folder / "plus.safetensors", tensors);
  contains(message_of([&] { Upscaler::load(folder / "plus.safetensors"); }), "found 'body.0.rdb1.conv1x1.weight'");
  tensors.pop_back();
  std::erase_if(tensors, [](const auto& tensor) { return tensor.first == "conv_hr.bias"; });
  io::write_safetensors(folder / "less.safetensors", tensors);
  contains(message_of([&] { Upscaler::load(folder / "less.safetensors"); }), "tensor 'conv_hr.bias' is missing");
}

TEST(Upscaler, WorkingMemoryIsKnownAndBounded) {
  Upscaler upscaler = load("rrdb_x4.pth");
  const int64_t small = upscaler.working_bytes(256, 256), large = upscaler.working_bytes(4096, 4096);
  EXPECT_GT(small, int64_t{256} * 256 * 8 * 4);
  EXPECT_LT(large, upscaler.working_bytes(768, 768) * 2);
}

}  // namespace
}  // namespace easel
