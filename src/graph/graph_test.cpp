#include "graph/graph.h"

#include <gtest/gtest.h>

#include <easel/error.h>

#include "graph/passes/hoist.h"

namespace easel::graph {
namespace {

const ValueType kInput{DType::f32, {Dim::symbol("batch"), 4}};

Graph two_layers() {
  Graph graph("test");
  const ValueId x = graph.input("x", kInput, Rate::step);
  const ValueId w = graph.constant(Constant::weight("w", {8, 4}));
  const ValueId h = graph.add(ops::LinearAttrs{}, {x, w}, "first");
  graph.output("y", graph.add(ops::ActivationAttrs{ops::Activation::silu}, {h}));
  return graph;
}

TEST(Graph, InfersSymbolicShapesAndPrints) {
  const Graph graph = two_layers();
  graph.verify();
  EXPECT_EQ(to_string(graph.value(graph.outputs()[0].value).type.shape), "[batch, 8]");
  EXPECT_EQ(graph.str(),
            "graph test\n"
            "  input %0 x f32[batch, 4] step\n"
            "  %2 = linear(%0, @w) : f32[batch, 8]  # first\n"
            "  %3 = activation(%2) silu : f32[batch, 8]\n"
            "  output y %3\n");
}

TEST(Graph, NamesTheScopeOfAMismatch) {
  Graph graph("test");
  const ValueId x = graph.input("x", kInput, Rate::step);
  const ValueId w = graph.constant(Constant::weight("w", {8, 5}));
  try {
    graph.add(ops::LinearAttrs{}, {x, w}, "block.fc");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::shape_mismatch);
    EXPECT_STREQ(error.what(), "test.block.fc: linear: expected weight [8, 4], found [8, 5]");
  }
}

TEST(Graph, SpecializesSymbols) {
  const Graph graph = two_layers().specialize({{"batch", 3}});
  EXPECT_EQ(to_string(graph.value(graph.outputs()[0].value).type.shape), "[3, 8]");
  EXPECT_THROW(two_layers().specialize({}), Error);
}

TEST(Graph, DropsDeadCode) {
  Graph graph = two_layers();
  graph.add(ops::ActivationAttrs{ops::Activation::gelu_erf}, {graph.outputs()[0].value});
  int removed = 0;
  EXPECT_EQ(graph.without_dead_code(&removed).nodes().size(), 2u);
  EXPECT_EQ(removed, 1);
}

TEST(Constant, KeysAreCanonical) {
  const ConstantPtr a = Constant::weight("a", {2, 3}), b = Constant::weight("b", {4, 3});
  const ConstantPtr joined = Constant::concat({a, b}, 0);
  EXPECT_EQ(joined->shape(), (Shape{6, 3}));
  EXPECT_EQ(Constant::cast(joined, DType::bf16)->key(), "concat(0, bf16(a), bf16(b))");
  EXPECT_EQ(Constant::reshape(a, {2, 3}), a);
  EXPECT_THROW(Constant::reshape(a, {7}), Error);
  EXPECT_EQ(Constant::literal(Tensor::from({1, 2}, {2}))->key(), Constant::literal(Tensor::from({1, 2}, {2}))->key());
  EXPECT_NE(Constant::literal(Tensor::from({1, 2}, {2}))->key(), Constant::literal(Tensor::from({1, 3}, {2}))->key());
}

TEST(Hoist, CutsByRateAndKeepsWhatCrosses) {
  Graph graph("test");
  const ValueId text = graph.input("text", kInput, Rate::request);
  const ValueId x = graph.input("x", kInput, Rate::step);
  const ValueId k = graph.add(ops::LinearAttrs{}, {text, graph.constant(Constant::weight("w", {4, 4}))});
  graph.output("y", graph.add(ops::BinaryAttrs{}, {x, k}));
  const Bundle bundle = hoist(graph);
  ASSERT_EQ(bundle.entries.size(), 2u);
  EXPECT_EQ(bundle.persistent, (std::vector<std::string>{"keep.0"}));
  EXPECT_EQ(bundle.entries[0].rate, Rate::request);
  EXPECT_EQ(bundle.entries[0].graph.outputs()[0].name, "keep.0");
  EXPECT_NE(bundle.entries[1].graph.find_input("keep.0"), kNone);
  for (const Entry& entry : bundle.entries) entry.graph.verify();
  EXPECT_EQ(hoist(graph, false).entries.size(), 1u);
  EXPECT_TRUE(hoist(graph, false).persistent.empty());
}

}  // namespace
}  // namespace easel::graph
