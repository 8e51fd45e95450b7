// A tensor: a typed, shaped view of memory that its handles share.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include <easel/dtype.h>
#include <easel/shape.h>

namespace easel {

/// A value handle: copies share the memory. Strides are in elements; most tensors are row-major.
class Tensor {
 public:
  Tensor() = default;
  /// Uninitialized, 64-byte aligned. Throws out_of_memory, or invalid_argument for a bad shape.
  static Tensor empty(DType dtype, const Shape& shape);
  static Tensor zeros(DType dtype, const Shape& shape);
  /// Memory owned by someone else, kept alive by `owner` (a mapping, another tensor) where given.
  static Tensor wrap(void* data, DType dtype, const Shape& shape, std::shared_ptr<void> owner = nullptr);
  static Tensor from(const std::vector<float>& values, const Shape& shape);

  bool defined() const noexcept { return data_ != nullptr || defined_; }
  DType dtype() const noexcept { return dtype_; }
  const Shape& shape() const noexcept { return shape_; }
  const Shape& strides() const noexcept { return strides_; }
  int rank() const noexcept { return shape_.rank(); }
  int64_t dim(int axis) const noexcept { return shape_[axis]; }
  int64_t numel() const { return shape_.numel(); }
  int64_t bytes() const { return numel() * size_of(dtype_); }
  bool contiguous() const;

  std::byte* raw() const noexcept { return data_; }
  /// Typed access. Throws invalid_argument if T is not the dtype.
  template <typename T>
  T* data() const {
    check_dtype(dtype_of<T>);
    return reinterpret_cast<T*>(data_);
  }
  /// All elements in memory order of a contiguous tensor. Throws invalid_argument otherwise.
  template <typename T>
  std::span<T> span() const {
    check_contiguous();
    return {data<T>(), static_cast<size_t>(numel())};
  }

  /// Same memory, other shape of equal size; needs a contiguous tensor.
  Tensor reshape(const Shape& shape) const;
  /// Rows begin … end-1 of the first axis, sharing memory.
  Tensor rows(int64_t begin, int64_t end) const;
  Tensor clone() const;
  /// A contiguous copy in another dtype (or itself where nothing changes). Floating and integer types, not boolean.
  Tensor to(DType dtype) const;

 private:
  void check_dtype(DType wanted) const;
  void check_contiguous() const;

  std::shared_ptr<void> owner_;
  std::byte* data_ = nullptr;
  bool defined_ = false;
  DType dtype_ = DType::f32;
  Shape shape_, strides_;
};

}  // namespace easel
