// Weights that stay in blocks against the same weights expanded: no bit may differ, and memory must.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <random>

#include <easel/error.h>

#include "exec/session.h"

namespace easel::exec {
namespace {

using graph::Constant;
using graph::Graph;
using graph::Rate;
using graph::ValueId;

/// Weights stored in blocks, of formats by name; all others in f32.
class BlockWeights : public WeightSource {
 public:
  void add(const std::string& name, const Shape& shape, BlockFormat format) {
    std::mt19937 random(static_cast<uint32_t>(stored_.size() + 1));
    std::normal_distribution<float> normal(0, 0.1f);
    Stored stored{shape, format, {}};
    std::vector<float> values(static_cast<size_t>(shape.numel()));
    for (float& value : values) value = normal(random);
    stored.bytes.resize(
        static_cast<size_t>(format == BlockFormat::none ? shape.numel() * 4 : bytes_in_blocks(format, shape.numel())));
    if (format == BlockFormat::none)
      std::memcpy(stored.bytes.data(), values.data(), stored.bytes.size());
    else if (format == BlockFormat::f8_e4m3)
      for (size_t i = 0; i < values.size(); ++i) stored.bytes[i] = std::byte(0x20 + random() % 32);
    else
      quantize(format, values.data(), stored.bytes.data(), shape.numel());
    stored_[name] = std::move(stored);
  }
  Tensor load(const std::string& name) const override {
    const Stored& stored = stored_.at(name);
    auto* bytes = const_cast<std::byte*>(stored.bytes.data());
    if (stored.format == BlockFormat::none) return Tensor::wrap(bytes, DType::f32, stored.shape);
    if (stored.format == BlockFormat::f8_e4m3) return Tensor::wrap(bytes, DType::f8_e4m3, stored.shape);
    const Tensor out = Tensor::empty(DType::f32, stored.shape);
    dequantize(stored.format, bytes, out.data<float>(), out.numel());
    return out;
  }
  Outline outline(const std::string& name) const override {
    const Stored& stored = stored_.at(name);
    const DType dtype = stored.format == BlockFormat::f8_e4m3 ? DType::f8_e4m3 : DType::f32;
    return {dtype, stored.shape, stored.format};
  }
  Tensor blocks(const std::string& name) const override {
    const Stored& stored = stored_.at(name);
    return Tensor::wrap(const_cast<std::byte*>(stored.bytes.data()), DType::u8,
                        {static_cast<int64_t>(stored.bytes.size())});
  }
  std::string description() const override { return "blocks"; }

 private:
  struct Stored {
    Shape shape;
    BlockFormat format;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Stored> stored_;
};

// An embedding, merged projections of which one is stored otherwise, rows of a joint one, a pointwise convolution, a
// gated layer and a convolution.
struct Model {
  explicit Model(BlockFormat format) {
    const Dim batch = Dim::symbol("batch");
    const ValueId ids = graph.input("ids", {DType::i32, {batch, 3}}, Rate::step);
    const ValueId x = graph.add(ops::EmbeddingAttrs{}, {ids, weight("table", {11, 512}, format)}, "table");
    const ValueId q = linear(x, "attn.to_q", {64, 512}, format), k = linear(x, "attn.to_k", {64, 512}, format),
                  v = linear(x, "attn.to_v", {64, 512}, BlockFormat::q8_0);
    const ValueId mixed = graph.add(ops::AttentionAttrs{.heads = 2, .scale = 0.2}, {q, k, v});
    source->add("joint", {300, 64}, BlockFormat::q5_0);
    const auto joint = Constant::slice(Constant::weight("joint", {300, 64}), 0, 37, 256);
    ValueId y = graph.add(ops::LinearAttrs{}, {mixed, graph.constant(joint)}, "joint");
    y = graph.add(ops::ReshapeAttrs{{batch, 1, 3, 256}}, {y});
    y = graph.add(ops::Conv2dAttrs{}, {y, weight("conv", {64, 256, 1, 1}, format)}, "conv");
    y = graph.add(ops::GegluAttrs{}, {linear(y, "ff", {512, 64}, BlockFormat::f8_e4m3)}, "ff");
    y = graph.add(ops::Conv2dAttrs{.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1},
                  {y, weight("conv2", {70, 256, 3, 3}, format)}, "conv2");
    graph.output("y", y);
  }
  ValueId weight(const std::string& name, const Shape& shape, BlockFormat format) {
    source->add(name, shape, format);
    return graph.constant(Constant::weight(name, shape));
  }
  ValueId linear(ValueId x, const std::string& scope, const Shape& shape, BlockFormat format) {
    return graph.add(ops::LinearAttrs{}, {x, weight(scope + ".weight", shape, format)}, scope);
  }
  ProgramPtr compile(DType precision, bool keep, bool plan_only = false) {
    const auto context = std::make_shared<device::Context>(2);
    WeightStore store(source, context);
    CompileOptions options;
    options.bindings = {{"batch", 2}};
    options.precision = precision;
    options.keep_blocks = keep;
    options.plan_only = plan_only;
    ProgramPtr program = exec::compile(graph, store, context, options);
    packed_bytes = store.packed_bytes();
    return program;
  }
  static Tensor run(const ProgramPtr& program) {
    Session session(program);
    const Tensor ids = Tensor::empty(DType::i32, {2, 3});
    for (int32_t i = 0; i < 6; ++i) ids.data<int32_t>()[i] = i * 2;
    session.set("ids", ids);
    session.run();
    return session.tensor("y").clone();
  }

  Graph graph{"model"};
  std::shared_ptr<BlockWeights> source = std::make_shared<BlockWeights>();
  int64_t packed_bytes = 0;
};

TEST(Blocks, StayPackedAndChangeNoBit) {
  for (const BlockFormat format : kBlockFormats) {
    if (!can_quantize(format)) continue;
    for (const DType precision : {DType::f32, DType::bf16, DType::f16}) {
      Model model(format);
      const ProgramPtr expanded = model.compile(precision, false);
      const int64_t expanded_bytes = model.packed_bytes;
      const ProgramPtr kept = model.compile(precision, true);
      const Tensor a = Model::run(expanded), b = Model::run(kept);
      ASSERT_EQ(a.bytes(), b.bytes());
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0)
          << to_string(format) << " in " << to_string(precision);
      std::map<BlockFormat, int> encodings;
      for (const EntryProgram& entry : kept->entries())
        for (const Command& command : entry.commands)
          for (const ops::ArgType& input : command.call.inputs)
            if (input.constant) ++encodings[input.encoding];
      std::map<BlockFormat, int> expected = {{BlockFormat::f8_e4m3, 1}, {BlockFormat::q5_0, 1}};
      expected[format] += 4;  // the table, q and k as one layer, the convolutions
      if (format != BlockFormat::q8_0) ++expected[BlockFormat::q8_0];  // v joins them only where it is stored alike
      EXPECT_EQ(encodings, expected) << to_string(format);
      EXPECT_LT(model.packed_bytes * 10, expanded_bytes * (precision == DType::f32 ? 4 : 7)) << to_string(format);
      EXPECT_EQ(kept->summary().parameters, expanded->summary().parameters);
      EXPECT_EQ(model.compile(precision, true, true)->summary().weight_bytes, kept->summary().weight_bytes);
    }
  }
}

TEST(Blocks, ReferenceKernelsReadThemToo) {
  Model model(BlockFormat::q4_k);
  const auto context = std::make_shared<device::Context>(1);
  WeightStore store(model.source, context);
  CompileOptions options;
  options.bindings = {{"batch", 2}};
  options.reference_kernels = true;
  const Tensor reference = Model::run(exec::compile(model.graph, store, context, options));
  const Tensor found = Model::run(model.compile(DType::f32, true));
  double error = 0, norm = 0;
  for (int64_t i = 0; i < found.numel(); ++i) {
    error += std::pow(double{found.data<float>()[i]} - reference.data<float>()[i], 2);
    norm += std::pow(double{reference.data<float>()[i]}, 2);
  }
  EXPECT_GT(norm, 0);
  EXPECT_LT(std::sqrt(error / norm), 2e-6);
}

TEST(Blocks, OneWeightThatNoKernelPacksIsReadFromTheFile) {
  Model model(BlockFormat::q4_0);
  const auto context = std::make_shared<device::Context>(1);
  WeightStore store(model.source, context);
  const auto stored_as = [](const std::string&) { return BlockFormat::q4_0; };
  const auto table = Constant::blocks(Constant::marked(Constant::weight("table", {11, 512}), stored_as));
  const PackedWeightPtr weight = store.get(table, nullptr);
  EXPECT_EQ(weight->data, model.source->blocks("table").raw());
  EXPECT_EQ(weight->bytes, 0);
  const auto both = Constant::concat({table->operands()[0], table->operands()[0]}, 0);
  EXPECT_EQ(store.get(Constant::blocks(both), nullptr)->bytes, 2 * model.source->blocks("table").bytes());
}

}  // namespace
}  // namespace easel::exec
