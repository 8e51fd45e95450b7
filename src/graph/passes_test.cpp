// Each pass fires on its pattern, leaves others alone, and can be switched off. That results stay the same is tested
// where graphs can run: exec_test.cpp.
#include <gtest/gtest.h>

#include <map>

#include <easel/error.h>

#include "graph/passes/keep_blocks.h"
#include "graph/passes/narrow_activations.h"
#include "graph/passes/pass.h"
#include "graph/passes/set_precision.h"

namespace easel::graph {
namespace {

class PassesTest : public testing::Test {
 protected:
  ValueId input(const char* name, const SymShape& shape) { return graph.input(name, {DType::f32, shape}, Rate::step); }
  ValueId weight(const char* name, const Shape& shape) { return graph.constant(Constant::weight(name, shape)); }
  ValueId activation(ValueId x, ops::Activation kind) { return graph.add(ops::ActivationAttrs{kind}, {x}); }
  ValueId add(ValueId a, ValueId b) { return graph.add(ops::BinaryAttrs{}, {a, b}); }

  // Runs one pass (and dead code, which sweeps up) and returns its matches.
  int run(const std::string& name) {
    PassOptions options;
    for (const Pass& pass : passes())
      if (pass.name != name && std::string(pass.name) != "dead_code") options.disabled.insert(pass.name);
    std::vector<PassReport> reports;
    result = run_passes(graph, options, &reports);
    for (const PassReport& report : reports)
      if (report.name == name) return report.matches;
    return -1;
  }
  template <typename A>
  int count() const {
    int n = 0;
    for (const Node& node : result.nodes()) n += std::holds_alternative<A>(node.attrs);
    return n;
  }

  Graph graph{"test"}, result;
  const Dim batch = Dim::symbol("batch"), tokens = Dim::symbol("tokens");
};

TEST_F(PassesTest, PointwiseConvBecomesLinear) {
  const ValueId x = input("x", {batch, 5, 7, 4});
  ops::Conv2dAttrs conv;
  conv.bias = true;
  graph.output("y", graph.add(conv, {x, weight("w", {6, 4, 1, 1}), weight("b", {6})}));
  EXPECT_EQ(run("pointwise_conv"), 1);
  EXPECT_EQ(count<ops::LinearAttrs>(), 1);
  EXPECT_EQ(result.value(result.nodes()[0].inputs[1]).constant->key(), "reshape([6, 4], w)");
}

TEST_F(PassesTest, StridedPointwiseConvStays) {
  ops::Conv2dAttrs conv;
  conv.stride = 2;
  graph.output("y", graph.add(conv, {input("x", {batch, 5, 7, 4}), weight("w", {6, 4, 1, 1})}));
  EXPECT_EQ(run("pointwise_conv"), 0);
}

TEST_F(PassesTest, AttentionPattern) {
  const auto split = [&](ValueId v) {
    return graph.add(ops::PermuteAttrs{{0, 2, 1, 3}}, {graph.add(ops::ReshapeAttrs{{batch, tokens, 2, 8}}, {v})});
  };
  const ValueId q = input("q", {batch, tokens, 16}), k = input("k", {batch, tokens, 16}),
                v = input("v", {batch, tokens, 16});
  const ValueId scores = graph.add(ops::MatmulAttrs{true, 0.25}, {split(q), split(k)});
  const ValueId mixed = graph.add(ops::MatmulAttrs{}, {graph.add(ops::SoftmaxAttrs{true}, {scores}), split(v)});
  const ValueId merged = graph.add(ops::PermuteAttrs{{0, 2, 1, 3}}, {mixed});
  graph.output("y", graph.add(ops::ReshapeAttrs{{batch, tokens, 16}}, {merged}));
  EXPECT_EQ(run("fuse_attention"), 1);
  ASSERT_EQ(result.nodes().size(), 1u);
  const auto& attention = std::get<ops::AttentionAttrs>(result.nodes()[0].attrs);
  EXPECT_EQ(attention.heads, 2);
  EXPECT_EQ(attention.scale, 0.25);
  EXPECT_TRUE(attention.causal);
}

TEST_F(PassesTest, LinearsOfOneModuleMerge) {
  const ValueId x = input("x", {batch, 4});
  const ValueId q = graph.add(ops::LinearAttrs{}, {x, weight("q", {6, 4})}, "attn.to_q");
  const ValueId k = graph.add(ops::LinearAttrs{}, {x, weight("k", {2, 4})}, "attn.to_k");
  const ValueId other = graph.add(ops::LinearAttrs{}, {x, weight("o", {2, 4})}, "elsewhere.proj");
  graph.output("q", q);
  graph.output("k", k);
  graph.output("other", other);
  EXPECT_EQ(run("merge_linears"), 1);
  EXPECT_EQ(count<ops::LinearAttrs>(), 2);
  EXPECT_EQ(count<ops::SliceAttrs>(), 2);
  const auto& second = std::get<ops::SliceAttrs>(result.producer(result.outputs()[1].value)->attrs);
  EXPECT_EQ(second.begin, 6);
  EXPECT_EQ(second.length, 2);
}

TEST_F(PassesTest, BlocksStayWhereRowsAreReadAsTheyAre) {
  const auto stored = [&](const char* name, const Shape& shape, BlockFormat format) {
    return Constant::marked(Constant::weight(name, shape), [format](const std::string&) { return format; });
  };
  const auto q = stored("q", {6, 256}, BlockFormat::q4_k), k = stored("k", {2, 256}, BlockFormat::q4_k),
             other = stored("v", {2, 256}, BlockFormat::q6_k), odd = stored("odd", {2, 40}, BlockFormat::q8_0);
  EXPECT_EQ(Constant::concat({q, k}, 0)->row_encoding(), BlockFormat::q4_k);
  EXPECT_EQ(Constant::cast(Constant::concat({q, k}, 0), DType::bf16)->row_encoding(), BlockFormat::q4_k);
  EXPECT_EQ(Constant::slice(q, 0, 1, 2)->row_encoding(), BlockFormat::q4_k);
  EXPECT_EQ(Constant::reshape(q, {6, 256, 1, 1})->row_encoding(), BlockFormat::q4_k);
  EXPECT_EQ(Constant::concat({q, other}, 0)->row_encoding(), BlockFormat::none);
  EXPECT_EQ(Constant::concat({q, q}, 1)->row_encoding(), BlockFormat::none);
  EXPECT_EQ(Constant::slice(q, 1, 0, 128)->row_encoding(), BlockFormat::none);
  EXPECT_EQ(Constant::scale(q, 2)->row_encoding(), BlockFormat::none);
  EXPECT_EQ(Constant::permute(q, {1, 0})->row_encoding(), BlockFormat::none);
  EXPECT_EQ(Constant::reshape(q, {3, 512})->row_encoding(), BlockFormat::none);
  EXPECT_EQ(odd->row_encoding(), BlockFormat::none);
  EXPECT_THROW(Constant::blocks(odd), Error);

  // Merging leaves out what is stored otherwise, which would cost the others their blocks.
  const ValueId x = input("x", {batch, 256});
  graph.output("q", graph.add(ops::LinearAttrs{}, {x, graph.constant(q)}, "attn.to_q"));
  graph.output("k", graph.add(ops::LinearAttrs{}, {x, graph.constant(k)}, "attn.to_k"));
  graph.output("v", graph.add(ops::LinearAttrs{}, {x, graph.constant(other)}, "attn.to_v"));
  graph.output("s", graph.add(ops::LinearAttrs{}, {x, graph.constant(Constant::scale(q, 2))}, "elsewhere.proj"));
  EXPECT_EQ(run("merge_linears"), 1);
  const Graph kept = keep_blocks(set_precision(result, DType::bf16));
  std::vector<std::string> weights;
  for (const Node& node : kept.nodes())
    if (std::holds_alternative<ops::LinearAttrs>(node.attrs))
      weights.push_back(kept.value(node.inputs[1]).constant->key());
  EXPECT_EQ(weights,
            (std::vector<std::string>{"q4_k(concat(0, bf16(q), bf16(k)))", "q6_k(bf16(v))", "bf16(scale(0x1p+1, q))"}));
}

TEST_F(PassesTest, GroupNormTakesSiluButNotGelu) {
  const ValueId x = input("x", {batch, 3, 4});
  const ValueId norm = graph.add(ops::GroupNormAttrs{2}, {x, weight("w", {4}), weight("b", {4})});
  graph.output("y", activation(norm, ops::Activation::silu));
  EXPECT_EQ(run("fuse_group_norm"), 1);
  EXPECT_EQ(result.nodes().size(), 1u);
  graph = Graph("other");
  const ValueId z = input("x", {batch, 3, 4});
  graph.output("y", activation(graph.add(ops::GroupNormAttrs{2}, {z, weight("w", {4}), weight("b", {4})}),
                               ops::Activation::gelu_erf));
  EXPECT_EQ(run("fuse_group_norm"), 0);
}

TEST_F(PassesTest, EpilogueChain) {
  const ValueId x = input("x", {batch, 4}), r = input("r", {batch, 6});
  const ValueId product = graph.add(ops::LinearAttrs{}, {x, weight("w", {6, 4})}, "block.proj");
  graph.output("y", add(r, activation(add(product, weight("b", {6})), ops::Activation::silu)));
  EXPECT_EQ(run("fuse_epilogue"), 3);
  ASSERT_EQ(result.nodes().size(), 1u);
  EXPECT_EQ(result.nodes()[0].scope, "block.proj");  // profiles and errors name the layer
  EXPECT_EQ(ops::to_string(result.nodes()[0].attrs), " bias residual silu");
  EXPECT_EQ(result.nodes()[0].inputs.size(), 4u);
}

TEST_F(PassesTest, EpilogueOfConvTakesTheTimeEmbedding) {
  const ValueId x = input("x", {batch, 5, 7, 4}), t = input("t", {batch, 6});
  ops::Conv2dAttrs conv;
  const ValueId y = graph.add(conv, {x, weight("w", {6, 4, 1, 1})});
  graph.output("y", add(y, graph.add(ops::ReshapeAttrs{{batch, 1, 1, 6}}, {t})));
  EXPECT_EQ(run("fuse_epilogue"), 1);
  ASSERT_EQ(result.nodes().size(), 1u);
  EXPECT_TRUE(std::get<ops::Conv2dAttrs>(result.nodes()[0].attrs).channel_bias);
}

TEST_F(PassesTest, EpilogueLeavesSharedResultsAlone) {
  const ValueId x = input("x", {batch, 4});
  const ValueId product = graph.add(ops::LinearAttrs{}, {x, weight("w", {4, 4})});
  graph.output("y", activation(product, ops::Activation::silu));
  graph.output("raw", product);
  EXPECT_EQ(run("fuse_epilogue"), 0);
}

TEST_F(PassesTest, SlopesJoinTheConvolution) {
  const ValueId x = input("x", {batch, 5, 7, 4}), r = input("r", {batch, 5, 7, 6});
  const ValueId y = graph.add(ops::Conv2dAttrs{.bias = true}, {x, weight("w", {6, 4, 1, 1}), weight("b", {6})});
  graph.output("y", add(r, graph.add(ops::PReluAttrs{}, {y, weight("slope", {6})})));
  EXPECT_EQ(run("fuse_epilogue"), 2);
  ASSERT_EQ(result.nodes().size(), 1u);
  EXPECT_EQ(std::get<ops::Conv2dAttrs>(result.nodes()[0].attrs).activation, ops::Activation::prelu);
  EXPECT_EQ(result.value(result.nodes()[0].inputs[3]).constant->key(), "slope");
  EXPECT_EQ(result.value(result.nodes()[0].inputs[4]).name, "r");
  // A linear layer has no such place.
  graph = Graph("other");
  const ValueId z = graph.add(ops::LinearAttrs{}, {input("x", {batch, 4}), weight("w", {6, 4})});
  graph.output("y", graph.add(ops::PReluAttrs{}, {z, weight("slope", {6})}));
  EXPECT_EQ(run("fuse_epilogue"), 0);
}

TEST_F(PassesTest, FactorsJoinTheWeightsOfPlainLayers) {
  const ValueId x = input("x", {batch, 4}), fifth = graph.constant(Constant::literal(Tensor::from({0.5f}, {1})));
  const auto times = [&](ValueId v) { return graph.add(ops::BinaryAttrs{ops::BinaryKind::mul}, {v, fifth}); };
  const ValueId layer = graph.add(ops::LinearAttrs{.bias = true}, {x, weight("w", {6, 4}), weight("b", {6})});
  graph.output("y", times(layer));
  EXPECT_EQ(run("fold_scale"), 1);
  ASSERT_EQ(result.nodes().size(), 1u);
  EXPECT_EQ(result.value(result.nodes()[0].inputs[1]).constant->key(), "scale(0x1p-1, w)");
  EXPECT_EQ(result.value(result.nodes()[0].inputs[2]).constant->key(), "scale(0x1p-1, b)");
  // Not where others read the layer, and not behind an activation.
  graph.output("raw", layer);
  EXPECT_EQ(run("fold_scale"), 0);
  graph = Graph("other");
  const ValueId z = input("x", {batch, 4});
  const ValueId half = graph.constant(Constant::literal(Tensor::from({0.5f}, {1})));
  ops::LinearAttrs active{.activation = ops::Activation::silu};
  graph.output("y",
               graph.add(ops::BinaryAttrs{ops::BinaryKind::mul}, {graph.add(active, {z, weight("w", {6, 4})}), half}));
  EXPECT_EQ(run("fold_scale"), 0);
}

TEST_F(PassesTest, GegluJoinsItsProjection) {
  const ValueId x = input("x", {batch, 4});
  graph.output("y", graph.add(ops::GegluAttrs{}, {graph.add(ops::LinearAttrs{}, {x, weight("w", {12, 4})})}));
  EXPECT_EQ(run("fuse_epilogue"), 1);
  EXPECT_EQ(std::get<ops::LinearAttrs>(result.nodes()[0].attrs).activation, ops::Activation::geglu);
}

TEST_F(PassesTest, ConstantsFoldIntoExpressions) {
  const ValueId x = input("x", {batch, 4});
  const ValueId w = graph.add(ops::ReshapeAttrs{{6, 4}}, {weight("w", {4, 6})});
  const ValueId two = graph.constant(Constant::literal(Tensor::from({2}, {1})));
  const ValueId scaled = graph.add(ops::BinaryAttrs{ops::BinaryKind::mul}, {w, two});
  graph.output("y", graph.add(ops::LinearAttrs{}, {x, scaled}));
  EXPECT_EQ(run("fold_constants"), 2);
  ASSERT_EQ(result.nodes().size(), 1u);
  EXPECT_EQ(result.value(result.nodes()[0].inputs[1]).constant->key(), "scale(0x1p+1, reshape([6, 4], w))");
}

TEST_F(PassesTest, RunnerSwitchesDumpsAndRefusesUnknownNames) {
  graph.output("y", activation(input("x", {batch, 4}), ops::Activation::silu));
  PassOptions options;
  options.disabled = {"no_such_pass"};
  EXPECT_THROW(run_passes(graph, options), Error);
  options.disabled = {"fuse_attention"};
  std::vector<std::string> dumped;
  options.dump = [&](const Pass& pass, const Graph&) { dumped.push_back(pass.name); };
  run_passes(graph, options);
  EXPECT_EQ(dumped.size(), passes().size() - 1);
}

TEST_F(PassesTest, PrecisionCastsDenseWeightsOnly) {
  const ValueId x = input("x", {batch, 3, 4});
  const ValueId norm = graph.add(ops::GroupNormAttrs{2}, {x, weight("nw", {4}), weight("nb", {4})});
  graph.output("y", graph.add(ops::LinearAttrs{}, {norm, weight("w", {4, 4})}));
  const Graph narrow = set_precision(graph, DType::bf16);
  EXPECT_EQ(narrow.value(narrow.nodes()[0].inputs[1]).constant->dtype(), DType::f32);
  EXPECT_EQ(narrow.value(narrow.nodes()[1].inputs[1]).constant->key(), "bf16(w)");
}

TEST_F(PassesTest, ActivationsThatAllReadersRoundBecomeNarrow) {
  const auto dense = [&](ValueId x, const char* name) {
    return graph.add(ops::LinearAttrs{}, {x, weight(name, {4, 4})});
  };
  const ValueId x = input("x", {batch, 6, 4});
  const ValueId norm = graph.add(ops::LayerNormAttrs{}, {x, weight("lw", {4}), weight("lb", {4})});
  const ValueId qkv = graph.add(ops::LinearAttrs{}, {norm, weight("qkv", {12, 4})});
  const auto part = [&](int64_t begin) { return graph.add(ops::SliceAttrs{-1, begin, 4}, {qkv}); };
  const ValueId a = graph.add(ops::AttentionAttrs{.heads = 2}, {part(0), part(4), part(8)});
  const ValueId out = dense(a, "out");  // read by an addition: stays f32
  const ValueId sum = graph.add(ops::BinaryAttrs{ops::BinaryKind::add}, {x, out});
  const ValueId both = graph.add(ops::LayerNormAttrs{}, {sum, weight("mw", {4}), weight("mb", {4})});
  graph.output("y", dense(both, "w"));
  graph.output("seen", both);  // an output stays f32
  const auto [narrow, matches] = narrow_activations(set_precision(graph, DType::bf16));
  EXPECT_EQ(matches, 3);  // norm, qkv, attention
  narrow.verify();
  for (const Node& node : narrow.nodes()) {
    const DType dtype = narrow.value(node.output).type.dtype;
    const bool expected = node.output == narrow.nodes()[0].output ||
                          std::holds_alternative<ops::SliceAttrs>(node.attrs) ||
                          std::holds_alternative<ops::AttentionAttrs>(node.attrs) ||
                          narrow.value(node.output).type.shape.back() == Dim(12);
    EXPECT_EQ(dtype, expected ? DType::bf16 : DType::f32) << narrow.str();
  }
  EXPECT_EQ(narrow_activations(graph).matches, 0);  // weights in f32
}

TEST_F(PassesTest, PicturesInsideAResidualBlockBecomeNarrow) {
  const ValueId x = input("x", {batch, 8, 8, 4});
  const auto norm = [&](ValueId v) {
    return graph.add(ops::GroupNormAttrs{.groups = 2}, {v, weight("g", {4}), weight("b", {4})});
  };
  const auto conv = [&](ValueId v, const char* name) {
    return graph.add(ops::Conv2dAttrs{.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1},
                     {v, weight(name, {4, 4, 3, 3})});
  };
  const ValueId inside = conv(norm(x), "conv1");
  const ValueId branch = conv(norm(inside), "conv2");
  graph.output("y", add(conv(x, "shortcut"), branch));
  const auto [narrow, matches] = narrow_activations(set_precision(graph, DType::bf16));
  EXPECT_EQ(matches, 3) << narrow.str();  // both norms, and what lies between them
  for (const Node& node : narrow.nodes()) {
    const bool is_norm = std::holds_alternative<ops::GroupNormAttrs>(node.attrs);
    const bool is_conv1 = std::holds_alternative<ops::Conv2dAttrs>(node.attrs) &&
                          narrow.value(node.inputs[1]).constant->key() == "bf16(conv1)";
    EXPECT_EQ(narrow.value(node.output).type.dtype, is_norm || is_conv1 ? DType::bf16 : DType::f32) << narrow.str();
  }
}

TEST_F(PassesTest, ConcatenationsForRoundingReadersBecomeNarrow) {
  ops::Conv2dAttrs conv;
  conv.pad_top = conv.pad_left = conv.pad_bottom = conv.pad_right = 1;
  const ValueId x = input("x", {1, 5, 7, 4});
  const ValueId sum = add(x, x);  // read by an addition too: it keeps its digits
  const ValueId first = graph.add(conv, {sum, weight("w1", {2, 4, 3, 3})});
  const ValueId two = graph.add(ops::ConcatAttrs{-1}, {sum, first});
  const ValueId second = graph.add(conv, {two, weight("w2", {2, 6, 3, 3})});
  const ValueId three = graph.add(ops::ConcatAttrs{-1}, {two, second});
  graph.output("y", add(sum, graph.add(conv, {three, weight("w3", {4, 8, 3, 3})})));
  const auto [narrow, matches] = narrow_activations(set_precision(graph, DType::bf16));
  narrow.verify();
  EXPECT_EQ(matches, 4);  // both layers within, both concatenations
  int casts = 0;
  for (const Node& node : narrow.nodes()) {
    casts += std::holds_alternative<ops::CastAttrs>(node.attrs);
    if (std::holds_alternative<ops::ConcatAttrs>(node.attrs)) {
      EXPECT_EQ(narrow.value(node.output).type.dtype, DType::bf16);
    }
  }
  EXPECT_EQ(casts, 1);
}

}  // namespace
}  // namespace easel::graph
