#include "graph/constant.h"

#include <cstring>

#include "base/fail.h"

namespace easel::graph {

namespace {

// FNV-1a over the bytes: literals are few and small, and equal bytes should share one packed copy.
uint64_t hash_bytes(const Tensor& tensor) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (int64_t i = 0, n = tensor.bytes(); i < n; ++i)
    hash = (hash ^ static_cast<uint64_t>(tensor.raw()[i])) * 0x100000001b3u;
  return hash;
}

}  // namespace

std::shared_ptr<Constant> Constant::make(Kind kind, std::vector<ConstantPtr> operands) {
  std::shared_ptr<Constant> out(new Constant);
  out->kind_ = kind;
  if (!operands.empty()) {
    out->dtype_ = operands.front()->dtype();
    out->shape_ = operands.front()->shape();
  }
  out->operands_ = std::move(operands);
  return out;
}

ConstantPtr Constant::weight(const std::string& name, const Shape& shape) {
  auto out = make(Kind::weight, {});
  out->shape_ = shape;
  out->key_ = out->name_ = name;
  return out;
}

ConstantPtr Constant::literal(const Tensor& values) {
  auto out = make(Kind::literal, {});
  out->values_ = values.contiguous() ? values : values.clone();
  out->dtype_ = values.dtype();
  out->shape_ = values.shape();
  out->key_ =
      fmt::format("literal({} {} {:016x})", to_string(values.dtype()), values.shape().str(), hash_bytes(values));
  return out;
}

ConstantPtr Constant::literal(const Tensor& values, const std::string& key) {
  auto out = make(Kind::literal, {});
  out->values_ = values.contiguous() ? values : values.clone();
  out->dtype_ = values.dtype();
  out->shape_ = values.shape();
  out->key_ = fmt::format("literal({})", key);
  return out;
}

ConstantPtr Constant::cast(ConstantPtr x, DType dtype) {
  if (x->dtype() == dtype) return x;
  // Moving elements and rounding them commute: rounding first moves fewer bytes.
  if (x->kind() == Kind::concat) {
    std::vector<ConstantPtr> parts;
    for (const ConstantPtr& part : x->operands()) parts.push_back(cast(part, dtype));
    return concat(std::move(parts), x->axis());
  }
  if (x->kind() == Kind::reshape) return reshape(cast(x->operands()[0], dtype), x->shape());
  auto out = make(Kind::cast, {x});
  out->dtype_ = dtype;
  out->key_ = fmt::format("{}({})", to_string(dtype), x->key());
  return out;
}

ConstantPtr Constant::reshape(ConstantPtr x, const Shape& shape) {
  if (x->shape() == shape) return x;
  if (x->shape().numel() != shape.numel())
    fail(ErrorCode::shape_mismatch, "constant {}: {} cannot become {}", x->key(), x->shape().str(), shape.str());
  auto out = make(Kind::reshape, {x});
  out->shape_ = shape;
  out->key_ = fmt::format("reshape({}, {})", shape.str(), x->key());
  return out;
}

ConstantPtr Constant::permute(ConstantPtr x, const std::vector<int>& order) {
  auto out = make(Kind::permute, {x});
  for (size_t i = 0; i < order.size(); ++i) out->shape_[static_cast<int>(i)] = x->shape()[order[i]];
  out->order_ = order;
  out->key_ = fmt::format("permute([{}], {})", fmt::join(order, ", "), x->key());
  return out;
}

ConstantPtr Constant::slice(ConstantPtr x, int axis, int64_t begin, int64_t length) {
  if (begin == 0 && length == x->shape()[axis]) return x;
  auto out = make(Kind::slice, {x});
  out->axis_ = axis < 0 ? axis + x->shape().rank() : axis;
  out->begin_ = begin;
  out->shape_[axis] = length;
  out->key_ = fmt::format("slice({}, {}, {}, {})", out->axis_, begin, length, x->key());
  return out;
}

ConstantPtr Constant::concat(std::vector<ConstantPtr> parts, int axis) {
  if (parts.size() == 1) return parts[0];
  auto out = make(Kind::concat, std::move(parts));
  out->axis_ = axis < 0 ? axis + out->shape_.rank() : axis;
  out->shape_[axis] = 0;
  out->key_ = fmt::format("concat({}", out->axis_);
  for (const ConstantPtr& part : out->operands_) {
    out->shape_[axis] += part->shape()[axis];
    out->key_ += ", " + part->key();
  }
  out->key_ += ")";
  return out;
}

ConstantPtr Constant::scale(ConstantPtr x, double factor) {
  if (factor == 1) return x;
  auto out = make(Kind::scale, {x});
  out->factor_ = factor;
  out->key_ = fmt::format("scale({:a}, {})", factor, x->key());
  return out;
}

ConstantPtr Constant::blocks(ConstantPtr x) {
  const BlockFormat format = x->row_encoding();
  if (format == BlockFormat::none) fail(ErrorCode::internal, "constant {}: its rows are no blocks", x->key());
  auto out = make(Kind::blocks, {x});
  out->stored_ = format;
  out->key_ = fmt::format("{}({})", easel::to_string(format), x->key());
  return out;
}

ConstantPtr Constant::marked(const ConstantPtr& x,
                             const std::function<BlockFormat(const std::string& name)>& stored_as) {
  std::shared_ptr<Constant> out(new Constant(*x));
  if (x->kind_ == Kind::weight) out->stored_ = stored_as(x->name_);
  for (ConstantPtr& operand : out->operands_) operand = marked(operand, stored_as);
  return out;
}

BlockFormat Constant::row_encoding() const {
  const auto whole_rows = [this](BlockFormat format) {
    const bool rows = shape_.rank() > 0 && shape_[0] > 0;
    return rows && shape_.numel() / shape_[0] % block_elements(format) == 0 ? format : BlockFormat::none;
  };
  switch (kind_) {
    case Kind::weight: return whole_rows(stored_);
    case Kind::cast: return operands_[0]->row_encoding();
    case Kind::reshape: {
      const Shape& before = operands_[0]->shape();
      const bool same_rows = before.rank() > 0 && shape_.rank() > 0 && before[0] == shape_[0];
      return same_rows ? operands_[0]->row_encoding() : BlockFormat::none;
    }
    case Kind::slice: return axis_ == 0 ? operands_[0]->row_encoding() : BlockFormat::none;
    case Kind::concat: {
      const BlockFormat first = operands_[0]->row_encoding();
      for (const ConstantPtr& operand : operands_)
        if (operand->row_encoding() != first) return BlockFormat::none;
      return axis_ == 0 ? first : BlockFormat::none;
    }
    default: return BlockFormat::none;
  }
}

namespace {

void expect_same_shape(const char* what, const Constant& a, const Constant& b) {
  if (!(a.shape() == b.shape()))
    fail(ErrorCode::shape_mismatch, "constant {}({}, {}): expected equal shapes, found {} and {}", what, a.key(),
         b.key(), a.shape().str(), b.shape().str());
}

void expect_matrices(const char* what, const Constant& a, const Constant& b) {
  if (a.shape().rank() != 2 || b.shape().rank() != 2)
    fail(ErrorCode::shape_mismatch, "constant {}({}, {}): expected matrices, found {} and {}", what, a.key(), b.key(),
         a.shape().str(), b.shape().str());
}

}  // namespace

ConstantPtr Constant::binary(Kind kind, const char* name, ConstantPtr a, ConstantPtr b, const Shape& shape) {
  auto out = make(kind, {std::move(a), std::move(b)});
  out->dtype_ = DType::f32;
  out->shape_ = shape;
  out->key_ = fmt::format("{}({}, {})", name, out->operands_[0]->key(), out->operands_[1]->key());
  return out;
}

ConstantPtr Constant::add(ConstantPtr a, ConstantPtr b) {
  expect_same_shape("add", *a, *b);
  return binary(Kind::add, "add", a, std::move(b), a->shape());
}

ConstantPtr Constant::mul(ConstantPtr a, ConstantPtr b) {
  expect_same_shape("mul", *a, *b);
  return binary(Kind::mul, "mul", a, std::move(b), a->shape());
}

ConstantPtr Constant::matmul(ConstantPtr a, ConstantPtr b) {
  expect_matrices("matmul", *a, *b);
  if (a->shape()[1] != b->shape()[0])
    fail(ErrorCode::shape_mismatch, "constant matmul({}, {}): {} and {} do not fit", a->key(), b->key(),
         a->shape().str(), b->shape().str());
  return binary(Kind::matmul, "matmul", a, b, {a->shape()[0], b->shape()[1]});
}

ConstantPtr Constant::kron(ConstantPtr a, ConstantPtr b) {
  expect_matrices("kron", *a, *b);
  return binary(Kind::kron, "kron", a, b, {a->shape()[0] * b->shape()[0], a->shape()[1] * b->shape()[1]});
}

ConstantPtr Constant::rescale(ConstantPtr x, ConstantPtr magnitude, int axis) {
  if (axis < 0 || axis > 1 || x->shape().rank() <= axis || magnitude->shape().numel() != x->shape()[axis])
    fail(ErrorCode::shape_mismatch, "constant rescale({}, {}): {} magnitudes do not fit axis {} of {}", x->key(),
         magnitude->key(), magnitude->shape().numel(), axis, x->shape().str());
  auto out = make(Kind::rescale, {x, std::move(magnitude)});
  out->dtype_ = DType::f32;
  out->axis_ = axis;
  out->key_ = fmt::format("rescale({}, {}, {})", axis, out->operands_[0]->key(), out->operands_[1]->key());
  return out;
}

}  // namespace easel::graph
