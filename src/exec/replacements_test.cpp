// Expressions that adapters are made of, and weights that are replaced by them and come back.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <random>

#include <easel/error.h>

#include "exec/session.h"
#include "exec/weight_store.h"
#include "graph/side_branches.h"
#include "models/clip_text.h"
#include "tensor/test_tensors.h"

namespace easel::exec {
namespace {

using graph::Constant;
using graph::ConstantPtr;

class Weights : public WeightSource {
 public:
  Tensor load(const std::string& name) const override {
    const auto found = tensors.find(name);
    if (found == tensors.end()) throw Error(ErrorCode::io, "no tensor " + name);
    return found->second;
  }
  std::string description() const override { return "random"; }
  std::map<std::string, Tensor> tensors;
};

struct Fixture {
  Fixture() : source(std::make_shared<Weights>()), store(source, std::make_shared<device::Context>(2)) {}
  ConstantPtr weight(const std::string& name, const Shape& shape, DType dtype = DType::f32) {
    source->tensors[name] = random_tensor(shape, static_cast<uint32_t>(source->tensors.size() + 1)).to(dtype);
    return Constant::weight(name, shape);
  }
  // Element by element, in double.
  void expect(const ConstantPtr& constant, const std::function<double(int64_t)>& formula, double bound = 1e-5) const {
    const Tensor found = store.evaluate(*constant);
    ASSERT_EQ(found.shape(), constant->shape());
    for (int64_t i = 0; i < found.numel(); ++i)
      ASSERT_NEAR(found.data<float>()[i], formula(i), bound) << constant->key() << " at " << i;
  }
  std::shared_ptr<Weights> source;
  WeightStore store;
};

double at(const Tensor& matrix, int64_t row, int64_t column) {
  return matrix.data<float>()[row * (matrix.numel() / matrix.dim(0)) + column];
}

TEST(RowValues, EveryKindIsItsFormula) {
  Fixture f;
  const Tensor a = random_tensor({7, 5}, 11), b = random_tensor({7, 5}, 12), c = random_tensor({5, 9}, 13),
               m = random_tensor({7}, 14), n = random_tensor({5}, 15), small = random_tensor({3, 2}, 16);
  const auto A = Constant::literal(a, "a"), B = Constant::literal(b, "b"), C = Constant::literal(c, "c"),
             M = Constant::literal(m, "m"), N = Constant::literal(n, "n"), S = Constant::literal(small, "s");
  f.expect(Constant::add(A, B), [&](int64_t i) { return at(a, 0, i) + at(b, 0, i); });
  f.expect(Constant::mul(A, B), [&](int64_t i) { return at(a, 0, i) * at(b, 0, i); });
  const auto product = [&](int64_t i) {
    double sum = 0;
    for (int64_t k = 0; k < 5; ++k) sum += at(a, i / 9, k) * at(c, k, i % 9);
    return sum;
  };
  f.expect(Constant::matmul(A, C), product);
  const Tensor base = random_tensor({7, 9}, 17);
  f.expect(Constant::add(Constant::literal(base, "base"), Constant::scale(Constant::matmul(A, C), 0.5)),
           [&](int64_t i) { return at(base, 0, i) + 0.5 * product(i); });
  f.expect(Constant::add(Constant::literal(base, "base"), Constant::matmul(A, Constant::scale(C, -2))),
           [&](int64_t i) { return at(base, 0, i) - 2 * product(i); });
  f.expect(Constant::kron(A, S), [&](int64_t i) {
    const int64_t row = i / 10, column = i % 10;
    return at(a, row / 3, column / 2) * at(small, row % 3, column % 2);
  });
  f.expect(Constant::rescale(A, M, 0), [&](int64_t i) {
    double squares = 0;
    for (int64_t k = 0; k < 5; ++k) squares += at(a, i / 5, k) * at(a, i / 5, k);
    return m.data<float>()[i / 5] * at(a, 0, i) / std::sqrt(squares);
  });
  f.expect(Constant::rescale(Constant::reshape(A, {7, 5, 1}), N, 1), [&](int64_t i) {
    double squares = 0;
    for (int64_t k = 0; k < 7; ++k) squares += at(a, k, i % 5) * at(a, k, i % 5);
    return n.data<float>()[i % 5] * at(a, 0, i) / std::sqrt(squares);
  });
  f.expect(Constant::matmul(Constant::permute(C, {1, 0}), Constant::permute(A, {1, 0})),
           [&](int64_t i) { return product(i % 7 * 9 + i / 7); });
  const Tensor nothing = Tensor::zeros(DType::f32, {2, 3});
  f.expect(Constant::rescale(Constant::literal(nothing, "0"), Constant::literal(random_tensor({2}, 3), "m2"), 0),
           [](int64_t) { return 0.0; });
}

TEST(RowValues, ShapesThatDoNotFitAreRefused) {
  const auto a = Constant::literal(random_tensor({7, 5}, 1), "a"), b = Constant::literal(random_tensor({5, 7}, 2), "b");
  EXPECT_THROW(Constant::add(a, b), Error);
  EXPECT_THROW(Constant::mul(a, b), Error);
  EXPECT_THROW(Constant::matmul(a, a), Error);
  EXPECT_THROW(Constant::kron(a, Constant::reshape(b, {35})), Error);
  EXPECT_THROW(Constant::rescale(a, b, 0), Error);
}

// Larger than a block, so that rows are made in several; in every dtype that is stored and wanted.
TEST(RowValues, BlocksThreadsAndDtypesChangeNoBit) {
  const Shape shape = {700, 3000};
  const Tensor up = random_tensor({700, 4}, 2), down = random_tensor({4, 3000}, 3);
  for (const DType stored : {DType::f32, DType::bf16, DType::f16}) {
    std::map<DType, Tensor> expected;
    for (const int threads : {1, 3}) {
      auto source = std::make_shared<Weights>();
      source->tensors["w"] = random_tensor(shape, 1).to(stored);
      WeightStore store(source, std::make_shared<device::Context>(threads));
      const auto w = Constant::weight("w", shape);
      store.replace(
          {{"w", Constant::add(w, Constant::matmul(Constant::literal(up, "up"), Constant::literal(down, "down")))}});
      const Tensor wide = store.evaluate(*w);
      for (const DType wanted : {DType::f32, DType::bf16, DType::f16}) {
        const Tensor found = store.evaluate(*Constant::cast(w, wanted)), rounded = wide.to(wanted);
        ASSERT_EQ(std::memcmp(found.raw(), rounded.raw(), static_cast<size_t>(found.bytes())), 0) << to_string(wanted);
        Tensor& first = expected[wanted];
        if (!first.defined()) first = found;
        ASSERT_EQ(std::memcmp(found.raw(), first.raw(), static_cast<size_t>(found.bytes())), 0) << threads;
      }
      // And it is W + B · A.
      for (const int64_t i : {int64_t{0}, int64_t{1234567}, shape.numel() - 1}) {
        double sum = store.evaluate(*Constant::weight("w", shape)).data<float>()[i];
        double formula = source->tensors["w"].to(DType::f32).data<float>()[i];
        for (int64_t k = 0; k < 4; ++k) formula += at(up, i / 3000, k) * at(down, k, i % 3000);
        EXPECT_NEAR(sum, formula, 1e-5);
      }
    }
  }
}

// All that the kernels of a program read.
std::vector<std::vector<std::byte>> bytes_of(const Program& program) {
  std::vector<std::vector<std::byte>> out;
  for (const PackedWeightPtr& weight : program.constants()) {
    const auto* bytes = static_cast<const std::byte*>(weight->data);
    const int64_t size = weight->buffer.size() > 0 ? weight->bytes : weight->tensor.bytes();
    out.emplace_back(bytes, bytes + size);
  }
  return out;
}

TEST(Replacements, ProgramsGoOnWithNewValuesAndComeBackToEveryByte) {
  models::ClipTextConfig config;
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  const graph::Graph graph = models::clip_text_model(config, 7);
  for (const DType precision : {DType::f32, DType::bf16}) {
    auto source = std::make_shared<Weights>();
    std::map<std::string, ConstantPtr> weights;
    for (const graph::Value& value : graph.values())
      if (value.constant) {
        value.constant->each_weight([&](const std::string& name) { weights[name] = value.constant; });
        source->tensors[value.constant->weight_name()] =
            random_tensor(value.constant->shape(), static_cast<uint32_t>(source->tensors.size()), 0.2f);
      }
    const auto context = std::make_shared<device::Context>(2);
    WeightStore store(source, context);
    CompileOptions options;
    options.bindings = {{"batch", 1}};
    options.precision = precision;
    const ProgramPtr program = compile(graph, store, context, options);
    Session session(program);
    for (int32_t i = 0; i < 7; ++i) session.tensor("input_ids").data<int32_t>()[i] = i * 5;
    const auto run = [&] {
      session.run();
      return session.tensor("last_hidden_state").clone();
    };
    const Tensor before = run();
    const auto bytes = bytes_of(*program);

    const std::string query = "encoder.layers.1.self_attn.q_proj.weight", bias = "encoder.layers.0.mlp.fc1.bias";
    const auto up = Constant::literal(random_tensor({32, 3}, 7), "up"),
               down = Constant::literal(random_tensor({3, 32}, 8), "down");
    const auto q = weights.at(query), b = weights.at(bias);
    store.replace({{query, Constant::add(q, Constant::matmul(up, down))},
                   {bias, Constant::add(b, Constant::literal(random_tensor({48}, 9), "bias"))}});
    const Tensor changed = run();
    EXPECT_NE(std::memcmp(before.raw(), changed.raw(), static_cast<size_t>(before.bytes())), 0);
    size_t differing = 0;
    const auto other = bytes_of(*program);
    for (size_t i = 0; i < bytes.size(); ++i) differing += other[i] != bytes[i];
    EXPECT_EQ(differing, 2u) << "only what reads a replaced weight is evaluated again";

    // The same as a program that never knew anything else.
    WeightStore fresh(source, context);
    fresh.replace({{query, Constant::add(q, Constant::matmul(up, down))},
                   {bias, Constant::add(b, Constant::literal(random_tensor({48}, 9), "bias"))}});
    EXPECT_EQ(bytes_of(*compile(graph, fresh, context, options)), other);

    store.replace({{query, Constant::add(q, Constant::matmul(up, down))}});
    store.replace({});
    EXPECT_EQ(bytes_of(*program), bytes);
    const Tensor after = run();
    EXPECT_EQ(std::memcmp(before.raw(), after.raw(), static_cast<size_t>(before.bytes())), 0);
  }
}

TEST(Replacements, OtherShapesAndMissingWeightsAreRefusedBeforeAnythingChanges) {
  Fixture f;
  const auto w = f.weight("w", {4, 6});
  const Tensor before = f.store.evaluate(*w).clone();
  EXPECT_THROW(f.store.replace({{"w", Constant::literal(random_tensor({4, 5}, 1), "x")}}), Error);
  EXPECT_THROW(f.store.replace({{"v", Constant::literal(random_tensor({4, 6}, 1), "x")}}), Error);
  EXPECT_THROW(f.store.replace({{"w", Constant::add(w, Constant::weight("v", {4, 6}))}}), Error);
  const Tensor after = f.store.evaluate(*w);
  EXPECT_EQ(std::memcmp(before.raw(), after.raw(), static_cast<size_t>(before.bytes())), 0);
}

// Layers that come beside a model: programs are planned before their weights are there.
TEST(WeightStore, AddedWeightsComeLater) {
  Fixture f;
  const std::string name = graph::added_weight("x.weight");
  const ConstantPtr added = Constant::weight(name, {4, 3});
  ASSERT_TRUE(graph::is_side_weight(name));
  f.store.check(*added);
  EXPECT_GT(f.store.working_bytes(*Constant::cast(added, DType::bf16)), 0);
  EXPECT_THROW(f.store.evaluate(*added), Error);
  EXPECT_THROW(f.store.check(*Constant::weight("x.weight", {4, 3})), Error) << "a model's own has to be there";
  const Tensor values = random_tensor({4, 3}, 21);
  f.store.replace({{name, Constant::literal(values.to(DType::f16), "first")}});
  EXPECT_TRUE(same_bits(f.store.evaluate(*added), values.to(DType::f16).to(DType::f32)));
  EXPECT_THROW(f.store.check(*Constant::weight(name, {4, 4})), Error);
}

}  // namespace
}  // namespace easel::exec
