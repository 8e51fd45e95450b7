#include "nn/var.h"

namespace easel::nn {

namespace {

Var emit(const ops::Attrs& attrs, const std::vector<Var>& inputs, const std::string& scope = "") {
  std::vector<graph::ValueId> ids;
  for (const Var& input : inputs) ids.push_back(input.id());
  return {inputs[0].graph(), inputs[0].graph().add(attrs, std::move(ids), scope)};
}

}  // namespace

Var Scope::weight(const std::string& name, const Shape& shape) const {
  return {*graph_, graph_->constant(graph::Constant::weight(path_.empty() ? name : path_ + "." + name, shape))};
}

Var Scope::add(const ops::Attrs& attrs, const std::vector<Var>& inputs) const { return emit(attrs, inputs, path_); }

Var scalar(graph::Graph& graph, double value) {
  return {graph, graph.constant(graph::Constant::literal(Tensor::from({static_cast<float>(value)}, {1})))};
}

Var operator+(const Var& a, const Var& b) { return emit(ops::BinaryAttrs{ops::BinaryKind::add}, {a, b}); }
Var operator-(const Var& a, const Var& b) { return emit(ops::BinaryAttrs{ops::BinaryKind::sub}, {a, b}); }
Var operator*(const Var& a, const Var& b) { return emit(ops::BinaryAttrs{ops::BinaryKind::mul}, {a, b}); }
Var operator*(const Var& a, double factor) { return factor == 1 ? a : a * scalar(a.graph(), factor); }

Var reshape(const Var& x, const SymShape& shape) { return emit(ops::ReshapeAttrs{shape}, {x}); }
Var permute(const Var& x, const std::vector<int>& order) { return emit(ops::PermuteAttrs{order}, {x}); }
Var concat(const std::vector<Var>& parts, int axis) { return emit(ops::ConcatAttrs{axis}, parts); }
Var slice(const Var& x, int axis, int64_t begin, int64_t length) {
  return emit(ops::SliceAttrs{axis, begin, length}, {x});
}
Var softmax(const Var& x, bool causal) { return emit(ops::SoftmaxAttrs{causal}, {x}); }
Var matmul(const Var& a, const Var& b, bool transpose_b, double alpha) {
  return emit(ops::MatmulAttrs{transpose_b, alpha}, {a, b});
}
Var activation(const Var& x, Activation kind) { return emit(ops::ActivationAttrs{kind}, {x}); }
Var prelu(const Var& x, const Var& slope) { return emit(ops::PReluAttrs{}, {x, slope}); }
Var leaky_relu(const Var& x, double slope) {
  const std::vector<float> slopes(static_cast<size_t>(x.channels()), static_cast<float>(slope));
  const Tensor values = Tensor::from(slopes, {x.channels()});
  return prelu(x, {x.graph(), x.graph().constant(graph::Constant::literal(values))});
}
Var geglu(const Var& x) { return emit(ops::GegluAttrs{}, {x}); }
Var fourier_filter(const Var& x, const Var& scale) { return emit(ops::FourierFilterAttrs{}, {x, scale}); }
Var upsample_nearest(const Var& x, const Dim& height, const Dim& width) {
  return emit(ops::UpsampleNearestAttrs{height, width}, {x});
}
Var pixel_shuffle(const Var& x, int factor) { return emit(ops::PixelShuffleAttrs{factor}, {x}); }
Var pixel_unshuffle(const Var& x, int factor) { return emit(ops::PixelShuffleAttrs{factor, true}, {x}); }
Var timestep_embedding(const Var& t, const ops::TimestepEmbeddingAttrs& attrs) { return emit(attrs, {t}); }

Var to_channels_last(const Var& x) { return permute(x, {0, 2, 3, 1}); }
Var to_channels_first(const Var& x) { return permute(x, {0, 3, 1, 2}); }

}  // namespace easel::nn
