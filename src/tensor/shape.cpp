#include <easel/shape.h>

#include "base/fail.h"

namespace easel {

Shape::Shape(std::span<const int64_t> dims) {
  for (const int64_t dim : dims) push_back(dim);
}

void Shape::push_back(int64_t dim) {
  if (rank_ == kMaxRank) fail(ErrorCode::invalid_argument, "shape: expected at most {} dimensions", kMaxRank);
  dims_[static_cast<size_t>(rank_++)] = dim;
}

int64_t Shape::numel() const {
  int64_t product = 1;
  for (const int64_t dim : *this) {
    if (dim < 0) fail(ErrorCode::invalid_argument, "shape {}: expected sizes of at least 0", str());
    if (__builtin_mul_overflow(product, dim, &product))
      fail(ErrorCode::invalid_argument, "shape {}: the number of elements overflows 64 bits", str());
  }
  return product;
}

bool Shape::operator==(const Shape& other) const noexcept {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string Shape::str() const {
  std::string out = "[";
  for (int i = 0; i < rank_; ++i) out += (i ? ", " : "") + std::to_string((*this)[i]);
  return out + "]";
}

Shape contiguous_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t stride = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

}  // namespace easel
