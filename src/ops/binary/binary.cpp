#include "ops/binary/binary.h"

namespace easel::ops {

ValueType infer(const BinaryAttrs& attrs, Inputs inputs) {
  expect_inputs("binary", inputs, 2);
  expect_floating("binary", "a", inputs[0]);
  const SymShape &a = inputs[0].shape, &b = inputs[1].shape;
  SymShape y(std::max(a.size(), b.size()));
  for (size_t i = 0; i < y.size(); ++i) {  // counted from the last axis
    const Dim da = i < a.size() ? a[a.size() - 1 - i] : Dim(1), db = i < b.size() ? b[b.size() - 1 - i] : Dim(1);
    if (da != db && da != Dim(1) && db != Dim(1))
      fail(ErrorCode::shape_mismatch, "{}: {} and {} do not broadcast", to_string(attrs.kind), easel::to_string(a),
           easel::to_string(b));
    y[y.size() - 1 - i] = da == Dim(1) ? db : da;
  }
  return {inputs[0].dtype, y};
}

std::string_view to_string(BinaryKind kind) noexcept {
  switch (kind) {
    case BinaryKind::add: return "add";
    case BinaryKind::sub: return "sub";
    case BinaryKind::mul: return "mul";
    case BinaryKind::div: return "div";
  }
  return "?";
}

std::string to_string(const BinaryAttrs& attrs) { return fmt::format(" {}", to_string(attrs.kind)); }

}  // namespace easel::ops
