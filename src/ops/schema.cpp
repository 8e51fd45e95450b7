#include "ops/schema.h"

#include "ops/attrs.h"

namespace easel::ops {

std::string_view to_string(Activation activation) noexcept {
  switch (activation) {
    case Activation::none: return "none";
    case Activation::silu: return "silu";
    case Activation::gelu_erf: return "gelu_erf";
    case Activation::gelu_tanh: return "gelu_tanh";
    case Activation::quick_gelu: return "quick_gelu";
    case Activation::relu: return "relu";
    case Activation::tanh: return "tanh";
    case Activation::geglu: return "geglu";
    case Activation::prelu: return "prelu";
  }
  return "?";
}

void expect_inputs(std::string_view op, Inputs inputs, size_t count) {
  if (inputs.size() != count)
    fail(ErrorCode::shape_mismatch, "{}: expected {} inputs, found {}", op, count, inputs.size());
}

void expect_shape(std::string_view op, std::string_view argument, const ValueType& found, const SymShape& expected) {
  if (found.shape != expected)
    fail(ErrorCode::shape_mismatch, "{}: expected {} {}, found {}", op, argument, to_string(expected),
         to_string(found.shape));
}

void expect_rank(std::string_view op, std::string_view argument, const ValueType& found, size_t at_least,
                 size_t at_most) {
  if (found.shape.size() < at_least || found.shape.size() > at_most)
    fail(ErrorCode::shape_mismatch, "{}: expected {} of rank {} to {}, found {}", op, argument, at_least, at_most,
         to_string(found.shape));
}

std::string result_suffix(DType result) { return result == DType::f32 ? "" : fmt::format(" → {}", to_string(result)); }

void expect_floating(std::string_view op, std::string_view argument, const ValueType& found) {
  if (!is_floating(found.dtype))
    fail(ErrorCode::shape_mismatch, "{}: expected a floating-point {}, found {}", op, argument, to_string(found.dtype));
}

int normalize_axis(std::string_view op, int axis, size_t rank) {
  const int n = static_cast<int>(rank);
  if (axis < -n || axis >= n)
    fail(ErrorCode::invalid_argument, "{}: expected an axis within rank {}, found {}", op, n, axis);
  return axis < 0 ? axis + n : axis;
}

std::string_view op_name(const Attrs& attrs) noexcept {
  static constexpr std::string_view kNames[] = {
#define OP(name, Attributes) #name,
#include "ops/ops.inc"
#undef OP
  };
  return kNames[attrs.index()];
}

ValueType infer(const Attrs& attrs, Inputs inputs) {
  return std::visit([&](const auto& a) { return infer(a, inputs); }, attrs);
}

std::string to_string(const Attrs& attrs) {
  return std::visit([](const auto& a) { return to_string(a); }, attrs);
}

Attrs specialize(const Attrs& attrs, const Bindings& bindings) {
  return std::visit(
      [&](auto a) -> Attrs {
        if constexpr (requires { a.bind(bindings); }) a.bind(bindings);
        return a;
      },
      attrs);
}

}  // namespace easel::ops
