#include <easel/tensor.h>

#include <cstdlib>
#include <cstring>

#include "base/fail.h"
#include "tensor/convert.h"

namespace easel {

namespace {

constexpr size_t kAlignment = 64;

std::shared_ptr<void> allocate(int64_t bytes) {
  const size_t size = (static_cast<size_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, size == 0 ? kAlignment : size);
  if (!memory) fail(ErrorCode::out_of_memory, "tensor: {} bytes could not be allocated", bytes);
  return {memory, std::free};
}

}  // namespace

Tensor Tensor::empty(DType dtype, const Shape& shape) {
  int64_t bytes;
  if (__builtin_mul_overflow(shape.numel(), size_of(dtype), &bytes))
    fail(ErrorCode::invalid_argument, "tensor {}: the number of bytes overflows 64 bits", shape.str());
  auto owner = allocate(bytes);
  void* data = owner.get();
  return wrap(data, dtype, shape, std::move(owner));
}

Tensor Tensor::zeros(DType dtype, const Shape& shape) {
  Tensor tensor = empty(dtype, shape);
  std::memset(tensor.data_, 0, static_cast<size_t>(tensor.bytes()));
  return tensor;
}

Tensor Tensor::wrap(void* data, DType dtype, const Shape& shape, std::shared_ptr<void> owner) {
  Tensor tensor;
  tensor.owner_ = std::move(owner);
  tensor.data_ = static_cast<std::byte*>(data);
  tensor.defined_ = true;
  tensor.dtype_ = dtype;
  tensor.shape_ = shape;
  tensor.strides_ = contiguous_strides(shape);
  return tensor;
}

Tensor Tensor::from(const std::vector<float>& values, const Shape& shape) {
  if (static_cast<int64_t>(values.size()) != shape.numel())
    fail(ErrorCode::shape_mismatch, "tensor {}: expected {} values, found {}", shape.str(), shape.numel(),
         values.size());
  Tensor tensor = empty(DType::f32, shape);
  std::memcpy(tensor.data_, values.data(), values.size() * sizeof(float));
  return tensor;
}

bool Tensor::contiguous() const { return strides_ == contiguous_strides(shape_); }

Tensor Tensor::reshape(const Shape& shape) const {
  check_contiguous();
  if (shape.numel() != numel())
    fail(ErrorCode::shape_mismatch, "reshape: {} does not hold the elements of {}", shape.str(), shape_.str());
  Tensor out = *this;
  out.shape_ = shape;
  out.strides_ = contiguous_strides(shape);
  return out;
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  if (rank() == 0 || begin < 0 || begin > end || end > dim(0))
    fail(ErrorCode::invalid_argument, "rows {}…{} of {}: outside the first axis", begin, end, shape_.str());
  Tensor out = *this;
  out.data_ += begin * strides_[0] * size_of(dtype_);
  out.shape_[0] = end - begin;
  return out;
}

Tensor Tensor::clone() const {
  check_contiguous();
  Tensor out = empty(dtype_, shape_);
  std::memcpy(out.data_, data_, static_cast<size_t>(bytes()));
  return out;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  check_contiguous();
  Tensor out = empty(dtype, shape_);
  for (int64_t i = 0, n = numel(); i < n; ++i) store_from_double(out.data_, dtype, i, load_as_double(data_, dtype_, i));
  return out;
}

void Tensor::check_dtype(DType wanted) const {
  if (wanted != dtype_)
    fail(ErrorCode::invalid_argument, "tensor {}: expected {}, found {}", shape_.str(), to_string(wanted),
         to_string(dtype_));
}

void Tensor::check_contiguous() const {
  if (!contiguous()) fail(ErrorCode::invalid_argument, "tensor {}: expected contiguous memory", shape_.str());
}

}  // namespace easel
