// Values of a graph under construction, with the arithmetic that model code is written in.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace easel::nn {

using ops::Activation;

/// A handle to a value of a graph. Layout is channels last: pictures [B, H, W, C], sequences [B, S, C].
class Var {
 public:
  Var() = default;
  Var(graph::Graph& graph, graph::ValueId id) : graph_(&graph), id_(id) {}
  graph::Graph& graph() const { return *graph_; }
  graph::ValueId id() const { return id_; }
  /// By value: the graph's own copy moves when nodes are added.
  SymShape shape() const { return graph_->value(id_).type.shape; }
  /// Negative axes count from the end.
  Dim dim(int axis) const {
    const SymShape& sizes = graph_->value(id_).type.shape;
    return sizes[axis < 0 ? sizes.size() - static_cast<size_t>(-axis) : static_cast<size_t>(axis)];
  }
  /// Size of the last axis; it must be a number.
  int64_t channels() const { return dim(-1).value(); }

 private:
  graph::Graph* graph_ = nullptr;
  graph::ValueId id_ = graph::kNone;
};

/// A module's place in the model: the prefix of its published weight names.
class Scope {
 public:
  explicit Scope(graph::Graph& graph, std::string path = "") : graph_(&graph), path_(std::move(path)) {}
  graph::Graph& graph() const { return *graph_; }
  const std::string& path() const { return path_; }
  /// The submodule `name`: s / "attn1" / "to_q", s / "resnets" / 0.
  Scope operator/(const std::string& name) const { return Scope(*graph_, path_.empty() ? name : path_ + "." + name); }
  Scope operator/(size_t index) const { return *this / std::to_string(index); }
  /// The parameter path.name of that shape.
  Var weight(const std::string& name, const Shape& shape) const;
  Var add(const ops::Attrs& attrs, const std::vector<Var>& inputs) const;

 private:
  graph::Graph* graph_;
  std::string path_;
};

/// A constant of one element.
Var scalar(graph::Graph& graph, double value);

Var operator+(const Var& a, const Var& b);
Var operator-(const Var& a, const Var& b);
Var operator*(const Var& a, const Var& b);
Var operator*(const Var& a, double factor);

Var reshape(const Var& x, const SymShape& shape);
Var permute(const Var& x, const std::vector<int>& order);
Var concat(const std::vector<Var>& parts, int axis = -1);
Var slice(const Var& x, int axis, int64_t begin, int64_t length);
Var softmax(const Var& x, bool causal = false);
Var matmul(const Var& a, const Var& b, bool transpose_b = false, double alpha = 1.0);
Var activation(const Var& x, Activation kind);
inline Var silu(const Var& x) { return activation(x, Activation::silu); }
/// x where x > 0, else slope · x; slope: one per channel [C], or one number for all.
Var prelu(const Var& x, const Var& slope);
Var leaky_relu(const Var& x, double slope);
Var geglu(const Var& x);
/// x + (scale − 1)·low(x): see ops/fourier_filter. x: [B, H, W, C]; scale: [1].
Var fourier_filter(const Var& x, const Var& scale);
Var upsample_nearest(const Var& x, const Dim& height, const Dim& width);
/// [B, H, W, C·r²] → [B, H·r, W·r, C] and back, channels in torch's order.
Var pixel_shuffle(const Var& x, int factor);
Var pixel_unshuffle(const Var& x, int factor);
Var timestep_embedding(const Var& t, const ops::TimestepEmbeddingAttrs& attrs);

/// [B, C, H, W] → [B, H, W, C] and back: the two layouts meet only at the edges of a model.
Var to_channels_last(const Var& x);
Var to_channels_first(const Var& x);

}  // namespace easel::nn
