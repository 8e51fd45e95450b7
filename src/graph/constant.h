// Constants are expressions over named source weights: passes rewrite expressions, never bytes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <easel/tensor.h>

#include "tensor/block_format.h"

namespace easel::graph {

class Constant;
using ConstantPtr = std::shared_ptr<const Constant>;

/// An immutable expression. Two expressions with the same key have the same value, so packed copies are shared by key.
class Constant {
 public:
  enum class Kind {
    weight,
    literal,
    cast,
    reshape,
    permute,
    slice,
    concat,
    scale,
    blocks,
    add,
    mul,
    matmul,
    kron,
    rescale
  };

  /// A tensor of the model's files, by its published name and expected shape; converted to f32 where stored otherwise.
  static ConstantPtr weight(const std::string& name, const Shape& shape);
  /// Values made by the builder itself. The tensor is kept.
  static ConstantPtr literal(const Tensor& values);
  /// Values from elsewhere, such as an adapter's file. `key` stands for them: equal keys, equal values.
  static ConstantPtr literal(const Tensor& values, const std::string& key);
  static ConstantPtr cast(ConstantPtr x, DType dtype);
  static ConstantPtr reshape(ConstantPtr x, const Shape& shape);
  static ConstantPtr permute(ConstantPtr x, const std::vector<int>& order);
  static ConstantPtr slice(ConstantPtr x, int axis, int64_t begin, int64_t length);
  static ConstantPtr concat(std::vector<ConstantPtr> parts, int axis);
  static ConstantPtr scale(ConstantPtr x, double factor);
  /// x itself, as rows of blocks of x's row_encoding(), which must not be none.
  static ConstantPtr blocks(ConstantPtr x);
  /// x with every source weight marked as stored in what `stored_as` gives for its name. Keys stay as they are.
  static ConstantPtr marked(const ConstantPtr& x, const std::function<BlockFormat(const std::string& name)>& stored_as);
  // What adapters are made of; results are f32. All throw shape_mismatch for operands that do not fit.
  /// Element by element, of equal shapes.
  static ConstantPtr add(ConstantPtr a, ConstantPtr b);
  static ConstantPtr mul(ConstantPtr a, ConstantPtr b);
  /// a: [M, K], b: [K, N] → [M, N].
  static ConstantPtr matmul(ConstantPtr a, ConstantPtr b);
  /// The Kronecker product: a: [M, N], b: [P, Q] → [M·P, N·Q], y[m·P + p, n·Q + q] = a[m, n] · b[p, q].
  static ConstantPtr kron(ConstantPtr a, ConstantPtr b);
  /// y = magnitude · x / ‖x‖, the norms being taken for each index along `axis` (0 or 1) over all others; what has the
  /// norm 0 stays 0. magnitude: as many elements as x along the axis. Liu et al. 2024, "DoRA".
  static ConstantPtr rescale(ConstantPtr x, ConstantPtr magnitude, int axis);

  Kind kind() const { return kind_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  /// Canonical text: "concat(0, a.to_q.weight, a.to_k.weight)".
  const std::string& key() const { return key_; }
  const std::vector<ConstantPtr>& operands() const { return operands_; }
  const std::string& weight_name() const { return name_; }
  const Tensor& values() const { return values_; }
  int axis() const { return axis_; }
  int64_t begin() const { return begin_; }
  double factor() const { return factor_; }
  const std::vector<int>& order() const { return order_; }
  /// The format of the bytes of blocks(x); none for every other kind, which are elements of dtype().
  BlockFormat encoding() const { return kind_ == Kind::blocks ? stored_ : BlockFormat::none; }
  /// The format in which the rows [shape[0], …] of this expression are to be had as they stand in the files: none where
  /// it computes with them, cuts them, or where they differ.
  BlockFormat row_encoding() const;

  /// Calls visit(name) for every source weight below.
  template <typename Visit>
  void each_weight(Visit&& visit) const {
    if (kind_ == Kind::weight) visit(name_);
    for (const ConstantPtr& operand : operands_) operand->each_weight(visit);
  }

 private:
  Constant() = default;
  static std::shared_ptr<Constant> make(Kind kind, std::vector<ConstantPtr> operands);
  static ConstantPtr binary(Kind kind, const char* name, ConstantPtr a, ConstantPtr b, const Shape& shape);

  Kind kind_ = Kind::weight;
  DType dtype_ = DType::f32;
  Shape shape_;
  std::string key_, name_;
  std::vector<ConstantPtr> operands_;
  Tensor values_;
  int axis_ = 0;
  int64_t begin_ = 0;
  double factor_ = 1;
  std::vector<int> order_;
  BlockFormat stored_ = BlockFormat::none;  // of a weight, and of blocks
};

}  // namespace easel::graph
