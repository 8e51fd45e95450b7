#include "ops/concat/concat.h"

namespace easel::ops {

ValueType infer(const ConcatAttrs& attrs, Inputs inputs) {
  if (inputs.empty()) fail(ErrorCode::shape_mismatch, "concat: expected at least one input");
  ValueType y = inputs[0];
  const auto axis = static_cast<size_t>(normalize_axis("concat", attrs.axis, y.shape.size()));
  for (const ValueType& x : inputs.subspan(1)) {
    expect_rank("concat", "input", x, y.shape.size(), y.shape.size());
    SymShape expected = y.shape;
    expected[axis] = x.shape[axis];
    expect_shape("concat", "input", x, expected);
    y.shape[axis] = y.shape[axis] + x.shape[axis];
  }
  return y;
}

std::string to_string(const ConcatAttrs& attrs) { return fmt::format(" axis={}", attrs.axis); }

}  // namespace easel::ops
