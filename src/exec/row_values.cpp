// Blocks of rows pass through f32 memory that stays in the caches: source weights are read once and results written
// once.
#include "exec/row_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/fail.h"
#include "exec/call.h"
#include "tensor/convert.h"

namespace easel::exec {

namespace {

// Elements of a block: a few of them lie in the caches that cores share, and starting threads for one costs little.
constexpr int64_t kBlock = 1 << 20;
constexpr int64_t kTask = 1 << 15;

int64_t row_count(const Shape& shape) { return shape.rank() == 0 ? 1 : shape[0]; }
int64_t row_size(const Shape& shape) { return row_count(shape) == 0 ? 0 : shape.numel() / row_count(shape); }
int64_t block_rows(const Shape& shape) { return std::max<int64_t>(1, kBlock / std::max<int64_t>(1, row_size(shape))); }

bool aligned(const Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.raw()) % static_cast<uintptr_t>(size_of(tensor.dtype())) == 0;
}

/// magnitude / ‖x‖.
float rescaling(double magnitude, double squares) {
  return squares > 0 ? static_cast<float>(magnitude / std::sqrt(squares)) : 0.0f;
}

}  // namespace

RowValues::RowValues(device::Context& context, Load load) : context_(context), load_(std::move(load)) {}

template <typename Make>
const Tensor& RowValues::once(const char* what, const Constant& x, Make&& make) {
  Tensor& made = made_[{what, &x}];
  if (!made.defined()) made = make();
  return made;
}

void RowValues::write(const graph::Constant& constant, const Tensor& target) {
  const int64_t rows_in_all = row_count(constant.shape()), width = row_size(constant.shape());
  if (constant.shape().numel() == 0) return;
  const Tensor all = target.reshape({rows_in_all, width});
  const int64_t step = std::min(rows_in_all, block_rows(constant.shape()));
  const bool direct = target.dtype() == DType::f32;
  const Tensor block = direct ? Tensor() : Tensor::empty(DType::f32, {step, width});
  for (int64_t begin = 0; begin < rows_in_all; begin += step) {
    const int64_t count = std::min(step, rows_in_all - begin);
    const Tensor out = all.rows(begin, begin + count);
    if (direct) {
      rows(constant, begin, out);
      continue;
    }
    const Tensor wide = block.rows(0, count);
    rows(constant, begin, wide);
    call_into(context_, ops::CastAttrs{target.dtype()}, {wide}, out);
  }
}

int64_t RowValues::working_bytes(const graph::Constant& constant) {
  const int64_t block =
      std::min(constant.shape().numel(), std::max(kBlock, row_size(constant.shape()))) * size_of(DType::f32);
  int64_t factors = 0;
  for (const graph::ConstantPtr& operand : constant.operands())
    if (operand->kind() != Constant::Kind::weight) factors += working_bytes(*operand);
  return block + factors;
}

void RowValues::rows(const Constant& x, int64_t begin, const Tensor& out) {
  const auto& in = x.operands();
  switch (x.kind()) {
    case Constant::Kind::weight:
    case Constant::Kind::literal: return convert_rows(stored(x), begin, out);
    case Constant::Kind::cast:
      if (x.dtype() != DType::f32) break;
      return rows(*in[0], begin, out);
    case Constant::Kind::reshape:
      if (row_count(x.shape()) != row_count(in[0]->shape())) break;
      return rows(*in[0], begin, out);
    case Constant::Kind::scale: {
      rows(*in[0], begin, out);
      return combine(ops::BinaryKind::mul, out, Tensor::from({static_cast<float>(x.factor())}, {1}));
    }
    case Constant::Kind::add: {
      rows(*in[0], begin, out);
      return add_rows(*in[1], begin, out);
    }
    case Constant::Kind::mul: {
      rows(*in[0], begin, out);
      const Tensor other = Tensor::empty(DType::f32, out.shape());
      rows(*in[1], begin, other);
      return combine(ops::BinaryKind::mul, out, other);
    }
    case Constant::Kind::matmul: return matmul_rows(x, begin, out, false);
    case Constant::Kind::kron: return kron_rows(x, begin, out);
    case Constant::Kind::rescale: return rescale_rows(x, begin, out);
    default: break;
  }
  convert_rows(whole(x), begin, out);
}

void RowValues::add_rows(const Constant& x, int64_t begin, const Tensor& out) {
  if (x.kind() == Constant::Kind::matmul) return matmul_rows(x, begin, out, true);
  const Tensor other = Tensor::empty(DType::f32, out.shape());
  rows(x, begin, other);
  combine(ops::BinaryKind::add, out, other);
}

// A layer whose input is a, whose weight is bᵀ, and, where it accumulates, whose residual is what it writes to.
void RowValues::matmul_rows(const Constant& x, int64_t begin, const Tensor& out, bool accumulate) {
  const Tensor& a = whole(*x.operands()[0]);
  std::vector<Tensor> inputs = {a.rows(begin, begin + out.dim(0)), transposed(*x.operands()[1])};
  if (accumulate) inputs.push_back(out);
  call_into(context_, ops::LinearAttrs{.residual = accumulate}, inputs, out);
}

void RowValues::kron_rows(const Constant& x, int64_t begin, const Tensor& out) {
  const Tensor &a = whole(*x.operands()[0]), &b = whole(*x.operands()[1]);
  const int64_t columns_a = a.dim(1), rows_b = b.dim(0), columns_b = b.dim(1);
  float* const y = out.data<float>();
  const float *const left = a.data<float>(), *const right = b.data<float>();
  context_.pool->parallel_for(out.dim(0), [&](int64_t task, int) {
    const int64_t row = begin + task;
    const float* const from = right + row % rows_b * columns_b;
    float* to = y + task * out.dim(1);
    for (int64_t i = 0; i < columns_a; ++i, to += columns_b) {
      const float factor = left[row / rows_b * columns_a + i];
      for (int64_t j = 0; j < columns_b; ++j) to[j] = factor * from[j];
    }
  });
}

void RowValues::rescale_rows(const Constant& x, int64_t begin, const Tensor& out) {
  rows(*x.operands()[0], begin, out);
  const int64_t width = out.dim(1);
  float* const values = out.data<float>();
  if (x.axis() == 0) {
    const float* const magnitude = whole(*x.operands()[1]).data<float>();
    context_.pool->parallel_for(out.dim(0), [&](int64_t row, int) {
      float* const y = values + row * width;
      double squares = 0;
      for (int64_t i = 0; i < width; ++i) squares += static_cast<double>(y[i]) * y[i];
      const float factor = rescaling(magnitude[begin + row], squares);
      for (int64_t i = 0; i < width; ++i) y[i] *= factor;
    });
    return;
  }
  const Tensor& factors = factors_by_column(x);
  const float* const factor = factors.data<float>();
  const int64_t group = width / factors.numel();  // elements of a row that share an index along the axis
  context_.pool->parallel_for(out.dim(0), [&](int64_t row, int) {
    float* y = values + row * width;
    for (int64_t c = 0; c < factors.numel(); ++c)
      for (int64_t i = 0; i < group; ++i) *y++ *= factor[c];
  });
}

// Norms along the second axis need all rows first.
const Tensor& RowValues::factors_by_column(const Constant& x) {
  return once("columns", x, [&] {
    const Constant& inner = *x.operands()[0];
    const int64_t columns = inner.shape()[1], width = row_size(inner.shape()), group = width / columns;
    std::vector<double> squares(static_cast<size_t>(columns));
    const int64_t count = row_count(inner.shape()), step = std::min(count, block_rows(inner.shape()));
    const Tensor block = Tensor::empty(DType::f32, {step, width});
    for (int64_t begin = 0; begin < count; begin += step) {
      const Tensor part = block.rows(0, std::min(step, count - begin));
      rows(inner, begin, part);
      // Each task owns columns, and adds their rows in order.
      context_.pool->parallel_for(columns, [&](int64_t column, int) {
        double sum = 0;
        for (int64_t row = 0; row < part.dim(0); ++row) {
          const float* const values = part.data<float>() + row * width + column * group;
          for (int64_t i = 0; i < group; ++i) sum += static_cast<double>(values[i]) * values[i];
        }
        squares[static_cast<size_t>(column)] += sum;
      });
    }
    const Tensor& magnitude = whole(*x.operands()[1]);
    Tensor factors = Tensor::empty(DType::f32, {columns});
    for (int64_t c = 0; c < columns; ++c)
      factors.data<float>()[c] = rescaling(magnitude.data<float>()[c], squares[static_cast<size_t>(c)]);
    return factors;
  });
}

void RowValues::convert_rows(const Tensor& from, int64_t begin, const Tensor& out) const {
  const int64_t width = out.dim(1), size = size_of(from.dtype());
  const Tensor part = Tensor::wrap(from.raw() + begin * width * size, from.dtype(), out.shape());
  if (aligned(part) && (from.dtype() == DType::bf16 || from.dtype() == DType::f16))
    return call_into(context_, ops::CastAttrs{DType::f32}, {part}, out);
  const int64_t count = out.numel();
  context_.pool->parallel_for((count + kTask - 1) / kTask, [&](int64_t task, int) {
    const int64_t first = task * kTask, length = std::min(kTask, count - first);
    const std::byte* const source = part.raw() + first * size;
    float* const target = out.data<float>() + first;
    if (from.dtype() == DType::f32)
      std::memcpy(target, source, static_cast<size_t>(length * size));
    else
      convert_to_f32(source, from.dtype(), target, length);
  });
}

void RowValues::combine(ops::BinaryKind kind, const Tensor& out, const Tensor& other) const {
  call_into(context_, ops::BinaryAttrs{kind}, {out, other}, out);
}

const Tensor& RowValues::stored(const Constant& x) {
  return once("stored", x, [&] { return x.kind() == Constant::Kind::literal ? x.values() : load_(x); });
}

const Tensor& RowValues::whole(const Constant& x) {
  return once("whole", x, [&] {
    const auto& in = x.operands();
    const Tensor out = Tensor::empty(DType::f32, x.shape());
    switch (x.kind()) {
      case Constant::Kind::cast:
        if (x.dtype() == DType::f32) break;
        fail(ErrorCode::internal, "constant {}: expected f32 in an adapter's expression", x.key());
      case Constant::Kind::reshape: return whole(*in[0]).reshape(x.shape());
      case Constant::Kind::permute: call_into(context_, ops::PermuteAttrs{x.order()}, {whole(*in[0])}, out); return out;
      case Constant::Kind::slice:
        call_into(context_, ops::SliceAttrs{x.axis(), x.begin(), x.shape()[x.axis()]}, {whole(*in[0])}, out);
        return out;
      case Constant::Kind::concat: {
        std::vector<Tensor> parts;
        for (const graph::ConstantPtr& part : in) parts.push_back(whole(*part));
        call_into(context_, ops::ConcatAttrs{x.axis()}, parts, out);
        return out;
      }
      default: break;
    }
    write(x, out);
    return out;
  });
}

const Tensor& RowValues::transposed(const Constant& x) {
  return once("transposed", x, [&] {
    const Tensor out = Tensor::empty(DType::f32, {x.shape()[1], x.shape()[0]});
    call_into(context_, ops::PermuteAttrs{{1, 0}}, {whole(x)}, out);
    return out;
  });
}

}  // namespace easel::exec
