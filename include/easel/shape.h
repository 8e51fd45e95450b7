// Sizes of a tensor: at most eight 64-bit dimensions.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace easel {

inline constexpr int kMaxRank = 8;

/// A short list of 64-bit numbers, used for sizes and for strides. Outermost dimension first.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  /// Throws invalid_argument above kMaxRank dimensions.
  explicit Shape(std::span<const int64_t> dims);

  int rank() const noexcept { return rank_; }
  bool empty() const noexcept { return rank_ == 0; }
  /// Negative axes count from the end.
  int64_t operator[](int axis) const noexcept { return dims_[axis < 0 ? axis + rank_ : axis]; }
  int64_t& operator[](int axis) noexcept { return dims_[axis < 0 ? axis + rank_ : axis]; }
  int64_t back() const noexcept { return dims_[rank_ - 1]; }
  const int64_t* begin() const noexcept { return dims_.data(); }
  const int64_t* end() const noexcept { return dims_.data() + rank_; }
  /// Throws invalid_argument above kMaxRank dimensions.
  void push_back(int64_t dim);

  /// Product of all sizes (1 for rank 0). Throws invalid_argument if a size is negative or the product overflows.
  int64_t numel() const;
  bool operator==(const Shape& other) const noexcept;
  /// "[2, 3, 4]"
  std::string str() const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

/// Row-major strides, in elements.
Shape contiguous_strides(const Shape& shape);

}  // namespace easel
