// What operator schemas share: argument checks for shape inference, and the activation kinds.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/fail.h"
#include "tensor/dim.h"

namespace easel::ops {

/// Types of the inputs, in the order the operator's header lists them.
using Inputs = std::span<const ValueType>;

/// Element-wise functions that operators can apply on their way out.
/// geglu (linear) and prelu (conv2d) take more than the sum itself and are no element-wise kinds of their own.
enum class Activation { none, silu, gelu_erf, gelu_tanh, quick_gelu, relu, tanh, geglu, prelu };

std::string_view to_string(Activation activation) noexcept;
/// Whether it is a function of one number.
constexpr bool is_elementwise(Activation activation) noexcept {
  return activation != Activation::geglu && activation != Activation::prelu;
}

/// Throws shape_mismatch "linear: expected 3 inputs, found 2".
void expect_inputs(std::string_view op, Inputs inputs, size_t count);
/// Throws shape_mismatch naming the operator, the argument and both shapes.
void expect_shape(std::string_view op, std::string_view argument, const ValueType& found, const SymShape& expected);
void expect_rank(std::string_view op, std::string_view argument, const ValueType& found, size_t at_least,
                 size_t at_most);
void expect_floating(std::string_view op, std::string_view argument, const ValueType& found);

/// "" for f32, " → bf16" for others: how attributes print the dtype of their result.
std::string result_suffix(DType result);

/// `axis`, counted from the end where negative. Throws invalid_argument outside the rank.
int normalize_axis(std::string_view op, int axis, size_t rank);

}  // namespace easel::ops
