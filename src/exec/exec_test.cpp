// Compiled graphs against the same graphs on reference kernels without passes.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <thread>

#include <easel/error.h>

#include "exec/call.h"
#include "exec/session.h"
#include "tensor/test_tensors.h"

namespace easel::exec {
namespace {

using graph::Constant;
using graph::Graph;
using graph::Rate;
using graph::ValueId;

class RandomWeights : public WeightSource {
 public:
  Tensor load(const std::string& name) const override {
    const auto found = shapes.find(name);
    if (found == shapes.end()) throw Error(ErrorCode::io, "no tensor " + name);
    return random_tensor(found->second, static_cast<uint32_t>(std::hash<std::string>()(name)), 0.2f);
  }
  std::string description() const override { return "random"; }
  std::map<std::string, Shape> shapes;
};

// A block that every pass finds something in: norm, convolutions with time embedding, attention to a text.
class Block {
 public:
  Block() : graph("block"), source(std::make_shared<RandomWeights>()) {
    const Dim b = Dim::symbol("batch"), h = Dim::symbol("height"), w = Dim::symbol("width"), n = h * w;
    const ValueId x = graph.input("x", {DType::f32, {b, h, w, 16}}, Rate::step);
    const ValueId text = graph.input("text", {DType::f32, {b, 5, 12}}, Rate::request);
    const ValueId time = graph.input("time", {DType::f32, {b, 16}}, Rate::schedule);
    ops::Conv2dAttrs conv;
    conv.pad_top = conv.pad_left = conv.pad_bottom = conv.pad_right = 1;
    conv.bias = true;
    ValueId v = graph.add(ops::GroupNormAttrs{4}, {x, weight("gw", {16}), weight("gb", {16})});
    v = graph.add(ops::ActivationAttrs{}, {v});
    v = graph.add(conv, {v, weight("cw", {16, 16, 3, 3}), weight("cb", {16})}, "conv1");
    const ValueId t = linear(time, 16, 16, "time", true);
    v = add(v, graph.add(ops::ReshapeAttrs{{b, 1, 1, 16}}, {t}));
    v = add(x, v);
    ValueId s = graph.add(ops::ReshapeAttrs{{b, n, 16}}, {v});
    const ValueId norm = graph.add(ops::LayerNormAttrs{}, {s, weight("lw", {16}), weight("lb", {16})});
    s = add(s, linear(attention(norm, norm, n, n, 16, "attn1"), 16, 16, "attn1.out", true));
    const ValueId half = graph.constant(Constant::literal(Tensor::from({0.5f}, {1})));
    s = add(s, graph.add(ops::BinaryAttrs{ops::BinaryKind::mul},
                         {linear(attention(s, text, n, 5, 12, "attn2"), 16, 16, "attn2.out", true), half}));
    s = add(s, linear(graph.add(ops::GegluAttrs{}, {linear(s, 16, 64, "ff.0", true)}), 32, 16, "ff.2", true));
    ops::Conv2dAttrs point;
    point.bias = true;
    const ValueId picture = graph.add(ops::ReshapeAttrs{{b, h, w, 16}}, {s});
    graph.output("y", graph.add(point, {picture, weight("pw", {8, 16, 1, 1}), weight("pb", {8})}, "out"));
  }

  ProgramPtr compile(const CompileOptions& options, int threads = 2) {
    const auto context = std::make_shared<device::Context>(threads);
    WeightStore store(source, context);
    return exec::compile(graph, store, context, options);
  }

  static CompileOptions options(int64_t height = 6, int64_t width = 7) {
    CompileOptions out;
    out.bindings = {{"batch", 2}, {"height", height}, {"width", width}};
    return out;
  }

  static Tensor run(const ProgramPtr& program) {
    Session session(program);
    for (const char* name : {"x", "text", "time"})
      session.set(name, random_tensor(session.tensor(name).shape(), static_cast<uint32_t>(name[0])));
    session.run();
    return session.tensor("y").clone();
  }

  Tensor reference() {
    CompileOptions plain = options();
    for (const graph::Pass& pass : graph::passes()) plain.passes.disabled.insert(pass.name);
    plain.reference_kernels = true;
    plain.hoist = false;
    return run(compile(plain));
  }

  Graph graph;
  std::shared_ptr<RandomWeights> source;

 private:
  ValueId weight(const std::string& name, const Shape& shape) {
    source->shapes[name] = shape;
    return graph.constant(Constant::weight(name, shape));
  }
  ValueId add(ValueId a, ValueId b) { return graph.add(ops::BinaryAttrs{}, {a, b}); }
  ValueId linear(ValueId x, int64_t in, int64_t out, const std::string& scope, bool bias) {
    std::vector<ValueId> inputs = {x, weight(scope + ".weight", {out, in})};
    if (bias) inputs.push_back(weight(scope + ".bias", {out}));
    return graph.add(ops::LinearAttrs{bias}, inputs, scope);
  }
  ValueId attention(ValueId from, ValueId to, const Dim& s, const Dim& t, int64_t width, const std::string& scope) {
    const Dim b = Dim::symbol("batch");
    const auto split = [&](ValueId v, const Dim& length) {
      return graph.add(ops::PermuteAttrs{{0, 2, 1, 3}}, {graph.add(ops::ReshapeAttrs{{b, length, 2, 8}}, {v})});
    };
    const ValueId q = split(linear(from, 16, 16, scope + ".q", false), s);
    const ValueId k = split(linear(to, width, 16, scope + ".k", false), t);
    const ValueId v = split(linear(to, width, 16, scope + ".v", false), t);
    const ValueId scores = graph.add(ops::MatmulAttrs{true, 0.35}, {q, k});
    const ValueId mixed = graph.add(ops::MatmulAttrs{}, {graph.add(ops::SoftmaxAttrs{}, {scores}), v});
    return graph.add(ops::ReshapeAttrs{{b, s, 16}}, {graph.add(ops::PermuteAttrs{{0, 2, 1, 3}}, {mixed})});
  }
};

constexpr double kBound = 2e-6;

TEST(Exec, AllPassesKeepTheResult) {
  Block block;
  EXPECT_LT(relative_l2(Block::run(block.compile(Block::options())), block.reference()), kBound);
}

TEST(Exec, EveryPassAloneAndEveryPassOffKeepsTheResult) {
  Block block;
  const Tensor reference = block.reference();
  for (const graph::Pass& pass : graph::passes()) {
    CompileOptions without = Block::options(), only = Block::options();
    without.passes.disabled = {pass.name};
    for (const graph::Pass& other : graph::passes())
      if (std::string(other.name) != pass.name) only.passes.disabled.insert(other.name);
    EXPECT_LT(relative_l2(Block::run(block.compile(without)), reference), kBound) << "without " << pass.name;
    EXPECT_LT(relative_l2(Block::run(block.compile(only)), reference), kBound) << "only " << pass.name;
  }
}

TEST(Exec, EveryPassFiresOnTheBlock) {
  Block block;
  const ProgramPtr program = block.compile(Block::options());
  for (const graph::PassReport& report : program->pass_reports()) {
    if (report.name != "fold_constants" && report.name != "dead_code") {
      EXPECT_GT(report.matches, 0) << report.name;
    }
  }
}

// Dense blocks: each convolution reads all that came before it. With views the parts are written where they belong.
TEST(Exec, PartsOfConcatenationsAreWrittenInPlace) {
  const auto source = std::make_shared<RandomWeights>();
  Graph graph("dense");
  const auto weight = [&](const std::string& name, const Shape& shape) {
    source->shapes[name] = shape;
    return graph.constant(Constant::weight(name, shape));
  };
  ops::Conv2dAttrs conv;
  conv.pad_top = conv.pad_left = conv.pad_bottom = conv.pad_right = 1;
  const Dim h = Dim::symbol("height"), w = Dim::symbol("width");
  const ValueId x = graph.input("x", {DType::f32, {2, h, w, 3}}, Rate::step);
  const ValueId first = graph.add(conv, {x, weight("first", {32, 3, 3, 3})});
  ValueId all = first;
  for (int64_t i = 0; i < 3; ++i) {
    ValueId made = graph.add(conv, {all, weight("c" + std::to_string(i), {16, 32 + 16 * i, 3, 3})});
    made = graph.add(ops::PReluAttrs{}, {made, weight("s" + std::to_string(i), {16})});
    all = graph.add(ops::ConcatAttrs{-1}, {all, made});
  }
  const ValueId last = graph.add(conv, {all, weight("last", {32, 80, 3, 3})});
  graph.output("y", graph.add(ops::BinaryAttrs{}, {last, first}));

  const auto context = std::make_shared<device::Context>(2);
  const auto run = [&](const CompileOptions& options, size_t* concats) {
    WeightStore store(source, context);
    const ProgramPtr program = exec::compile(graph, store, context, options);
    *concats = 0;
    for (const EntryProgram& entry : program->entries())
      for (const Command& command : entry.commands)
        *concats += std::holds_alternative<ops::ConcatAttrs>(command.call.attrs);
    Session session(program);
    session.set("x", random_tensor(session.tensor("x").shape(), 1));
    session.run();
    return session.tensor("y").clone();
  };
  for (const DType precision : {DType::f32, DType::bf16}) {
    CompileOptions options, plain;
    options.bindings = plain.bindings = {{"height", 26}, {"width", 25}};
    options.precision = precision;
    plain.reference_kernels = true;
    for (const graph::Pass& pass : graph::passes()) plain.passes.disabled.insert(pass.name);
    size_t concats = 0, plain_concats = 0;
    const Tensor found = run(options, &concats), expected = run(plain, &plain_concats);
    EXPECT_EQ(concats, 0u) << to_string(precision);
    EXPECT_LT(relative_l2(found, expected), precision == DType::f32 ? 1e-6 : 2e-2);
  }
}

// What a kernel must read densely, or what is wanted twice, is copied as ever.
TEST(Exec, PartsThatOthersNeedElsewhereAreCopied) {
  const auto source = std::make_shared<RandomWeights>();
  source->shapes["w"] = {16, 8, 3, 3};
  Graph graph("skip");
  ops::Conv2dAttrs conv;
  conv.pad_top = conv.pad_left = conv.pad_bottom = conv.pad_right = 1;
  const ValueId x = graph.input("x", {DType::f32, {1, 6, 5, 8}}, Rate::step);
  const ValueId a = graph.add(conv, {x, graph.constant(Constant::weight("w", {16, 8, 3, 3}))});
  graph.output("twice", graph.add(ops::ConcatAttrs{-1}, {a, a}));
  const ValueId both = graph.add(ops::ConcatAttrs{-1}, {a, x});
  graph.output("y", graph.add(ops::ActivationAttrs{}, {both}));
  const auto context = std::make_shared<device::Context>(1);
  const auto run = [&](bool reference) {
    WeightStore store(source, context);
    CompileOptions options;
    options.reference_kernels = reference;
    Session session(exec::compile(graph, store, context, options));
    session.set("x", random_tensor({1, 6, 5, 8}, 1));
    session.run();
    return std::pair{session.tensor("twice").clone(), session.tensor("y").clone()};
  };
  const auto [twice, y] = run(false);
  const auto [expected_twice, expected_y] = run(true);
  EXPECT_LT(relative_l2(twice, expected_twice), 1e-6);
  EXPECT_LT(relative_l2(y, expected_y), 1e-6);
}

TEST(Exec, HoistingAndThreadsChangeNoBit) {
  Block block;
  const Tensor all = Block::run(block.compile(Block::options()));
  CompileOptions flat = Block::options();
  flat.hoist = false;
  for (const ProgramPtr& program :
       {block.compile(flat), block.compile(Block::options(), 1), block.compile(Block::options(), 3)}) {
    const Tensor other = Block::run(program);
    EXPECT_EQ(std::memcmp(all.raw(), other.raw(), static_cast<size_t>(all.bytes())), 0);
  }
}

TEST(Exec, PrecisionReachesDenseLayersAndAttention) {
  Block block;
  CompileOptions options = Block::options();
  options.precision = DType::bf16;
  int dense = 0, attention = 0;
  const ProgramPtr program = block.compile(options);
  for (const EntryProgram& entry : program->entries())
    for (const Command& command : entry.commands) {
      if (const auto* attrs = std::get_if<ops::AttentionAttrs>(&command.call.attrs)) {
        ++attention;
        EXPECT_EQ(attrs->precision, DType::bf16) << command.scope;
      }
      if (std::holds_alternative<ops::LinearAttrs>(command.call.attrs) ||
          std::holds_alternative<ops::Conv2dAttrs>(command.call.attrs)) {
        ++dense;
        EXPECT_EQ(command.call.inputs[1].dtype, DType::bf16) << command.scope;
      }
    }
  EXPECT_GT(dense, 0);
  EXPECT_GT(attention, 0);
  const double error = relative_l2(Block::run(program), block.reference());
  EXPECT_GT(error, 1e-5);
  EXPECT_LT(error, 2e-2);
}

TEST(Exec, TextIsComputedOncePerRequest) {
  Block block;
  const ProgramPtr program = block.compile(Block::options());
  ASSERT_EQ(program->entries().size(), 3u);
  Session session(program);
  std::vector<Rate> seen;
  session.set_observer([&](const EntryProgram& entry, const Command&, auto begin, auto end) {
    EXPECT_LE(begin, end);
    seen.push_back(entry.rate);
  });
  for (const char* name : {"x", "text", "time"})
    session.set(name, random_tensor(session.tensor(name).shape(), static_cast<uint32_t>(name[0])));
  session.run();
  const Tensor first = session.tensor("y").clone();
  seen.clear();
  session.run(Rate::step);  // text and time are still there
  for (const Rate rate : seen) EXPECT_EQ(rate, Rate::step);
  EXPECT_EQ(std::memcmp(first.raw(), session.tensor("y").raw(), static_cast<size_t>(first.bytes())), 0);
}

TEST(Exec, TwoSessionsOfOneProgramRunAtOnce) {
  Block block;
  const ProgramPtr program = block.compile(Block::options());
  const Tensor expected = Block::run(program);
  std::vector<Tensor> results(2);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 5; ++round) results[i] = Block::run(program);
    });
  for (auto& thread : threads) thread.join();
  for (const Tensor& result : results)
    EXPECT_EQ(std::memcmp(expected.raw(), result.raw(), static_cast<size_t>(expected.bytes())), 0);
}

TEST(Exec, OnePackedCopyServesAllSizes) {
  Block block;
  const auto context = std::make_shared<device::Context>(1);
  WeightStore store(block.source, context);
  exec::compile(block.graph, store, context, Block::options());
  const int64_t once = store.packed_bytes();
  exec::compile(block.graph, store, context, Block::options(9, 4));
  EXPECT_EQ(store.packed_bytes(), once);
}

// The same values, stored in half precision.
class HalfWeights : public RandomWeights {
 public:
  explicit HalfWeights(bool widened) : widened_(widened) {}
  Tensor load(const std::string& name) const override {
    const Tensor half = RandomWeights::load(name).to(DType::f16);
    return widened_ ? half.to(DType::f32) : half;
  }

 private:
  bool widened_;
};

TEST(Exec, HowWeightsAreStoredChangesNoBit) {
  for (const DType precision : {DType::f32, DType::bf16, DType::f16}) {
    std::vector<Tensor> results;
    for (const bool widened : {true, false}) {
      Block block;
      auto weights = std::make_shared<HalfWeights>(widened);
      weights->shapes = block.source->shapes;
      block.source = weights;
      CompileOptions options = Block::options();
      options.precision = precision;
      results.push_back(Block::run(block.compile(options)));
    }
    EXPECT_EQ(std::memcmp(results[0].raw(), results[1].raw(), static_cast<size_t>(results[0].bytes())), 0)
        << to_string(precision);
  }
}

TEST(Exec, ConstantsOfEveryKindEvaluateIntoGivenMemory) {
  auto source = std::make_shared<RandomWeights>();
  source->shapes = {{"a", {6, 4}}, {"b", {5, 4}}, {"c", {6, 3}}};
  const WeightStore store(source, std::make_shared<device::Context>(1));
  const auto a = Constant::weight("a", {6, 4}), b = Constant::weight("b", {5, 4}), c = Constant::weight("c", {6, 3});
  for (const graph::ConstantPtr& constant :
       {a, Constant::cast(a, DType::bf16), Constant::cast(Constant::scale(a, 0.5), DType::f16),
        Constant::reshape(a, {3, 8}), Constant::permute(a, {1, 0}), Constant::slice(a, 1, 1, 2),
        Constant::concat({a, b}, 0), Constant::concat({a, c}, 1), Constant::scale(Constant::concat({a, b}, 0), 3),
        Constant::reshape(Constant::concat({Constant::cast(a, DType::bf16), Constant::cast(b, DType::bf16)}, 0), {44}),
        Constant::literal(Tensor::from({1, 2, 3}, {3}))}) {
    const Tensor expected = store.evaluate(*constant);
    const Tensor target = Tensor::zeros(constant->dtype(), constant->shape());
    EXPECT_EQ(store.evaluate(*constant, target).raw(), target.raw()) << constant->key();
    ASSERT_EQ(expected.bytes(), target.bytes());
    EXPECT_EQ(std::memcmp(expected.raw(), target.raw(), static_cast<size_t>(target.bytes())), 0) << constant->key();
    EXPECT_GT(store.working_bytes(*constant), 0);
  }
  const Tensor both = store.evaluate(*Constant::concat({a, b}, 0));
  EXPECT_EQ(both.data<float>()[24], store.evaluate(*b).data<float>()[0]);
}

TEST(Exec, PlanOnlyReadsNothingAndDoesNotRun) {
  Block block;
  CompileOptions options = Block::options();
  options.plan_only = true;
  const ProgramPtr program = block.compile(options);
  EXPECT_GT(program->summary().arena_bytes, 0);
  EXPECT_EQ(program->summary().weight_bytes, block.compile(Block::options())->summary().weight_bytes);
  EXPECT_THROW(Session{program}, Error);
}

TEST(Exec, MissingAndMisshapenWeightsAreNamed) {
  Block block;
  block.source->shapes.erase("attn1.q.weight");
  EXPECT_THROW(block.compile(Block::options()), Error);
  Block other;
  other.source->shapes["cw"] = {16, 16, 3, 2};
  try {
    other.compile(Block::options());
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::shape_mismatch);
    EXPECT_STREQ(error.what(), "random: tensor 'cw': expected shape [16, 16, 3, 3], found [16, 16, 3, 2]");
  }
}

TEST(Exec, CancelStopsBetweenCommands) {
  Block block;
  const ProgramPtr program = block.compile(Block::options());
  Session session(program);
  program->context()->cancel.cancel();
  try {
    session.run();
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::cancelled);
  }
}

TEST(Exec, BrokenWeightIsSeen) {
  Block block;
  const Tensor reference = block.reference();
  block.source->shapes["attn2.v.weight"] = {16, 12};
  struct Broken : RandomWeights {
    Tensor load(const std::string& name) const override {
      Tensor out = RandomWeights::load(name).clone();
      if (name == "attn2.v.weight") out.data<float>()[5] += 0.05f;
      return out;
    }
  };
  auto broken = std::make_shared<Broken>();
  broken->shapes = block.source->shapes;
  block.source = broken;
  EXPECT_GT(relative_l2(Block::run(block.compile(Block::options())), reference), 10 * kBound);
}

TEST(Call, RunsAnOperatorDirectly) {
  device::Context context(1);
  const Tensor x = Tensor::from({1, 2, 3, 4, 5, 6}, {2, 3}), w = Tensor::from({1, 0, 0, 0, 1, 1}, {2, 3});
  const Tensor y = call(context, ops::LinearAttrs{}, {x, w});
  EXPECT_EQ(std::vector<float>(y.span<float>().begin(), y.span<float>().end()), (std::vector<float>{1, 5, 4, 11}));
  EXPECT_THROW(call(context, ops::LinearAttrs{}, {x, x.reshape({3, 2})}), Error);
}

TEST(Session, BindsAndChecksInputs) {
  Block block;
  Session session(block.compile(Block::options()));
  EXPECT_THROW(session.set("x", Tensor::zeros(DType::f32, {1})), Error);
  EXPECT_THROW(session.tensor("nothing"), Error);
  const Tensor mine = random_tensor(session.tensor("x").shape(), 3);
  session.bind("x", mine);
  EXPECT_EQ(session.tensor("x").raw(), mine.raw());
}

}  // namespace
}  // namespace easel::exec
