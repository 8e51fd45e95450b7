#include "ops/matmul/matmul.h"

namespace easel::ops {

ValueType infer(const MatmulAttrs& attrs, Inputs inputs) {
  expect_inputs("matmul", inputs, 2);
  const ValueType &a = inputs[0], &b = inputs[1];
  expect_rank("matmul", "a", a, 2, kMaxRank);
  expect_floating("matmul", "a", a);
  expect_rank("matmul", "b", b, a.shape.size(), a.shape.size());
  const size_t r = a.shape.size();
  const Dim& n = attrs.transpose_b ? b.shape[r - 2] : b.shape[r - 1];
  SymShape expected(a.shape.begin(), a.shape.end() - 2);
  expected.push_back(attrs.transpose_b ? n : a.shape[r - 1]);
  expected.push_back(attrs.transpose_b ? a.shape[r - 1] : n);
  expect_shape("matmul", "b", b, expected);
  ValueType y = a;
  y.shape[r - 1] = n;
  return y;
}

std::string to_string(const MatmulAttrs& attrs) {
  return fmt::format(" alpha={}{}", attrs.alpha, attrs.transpose_b ? " transpose_b" : "");
}

}  // namespace easel::ops
