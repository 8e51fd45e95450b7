// The attributes of any operator, as one variant made from ops.inc. Its alternative is the operator.
#pragma once

#include <variant>

#include "ops/activation/activation.h"
#include "ops/attention/attention.h"
#include "ops/binary/binary.h"
#include "ops/cast/cast.h"
#include "ops/concat/concat.h"
#include "ops/conv2d/conv2d.h"
#include "ops/embedding/embedding.h"
#include "ops/fourier_filter/fourier_filter.h"
#include "ops/geglu/geglu.h"
#include "ops/group_norm/group_norm.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/linear/linear.h"
#include "ops/matmul/matmul.h"
#include "ops/permute/permute.h"
#include "ops/pixel_shuffle/pixel_shuffle.h"
#include "ops/prelu/prelu.h"
#include "ops/reshape/reshape.h"
#include "ops/slice/slice.h"
#include "ops/softmax/softmax.h"
#include "ops/timestep_embedding/timestep_embedding.h"
#include "ops/upsample_nearest/upsample_nearest.h"

namespace easel::ops {

namespace detail {
// The list in ops.inc ends in a comma once expanded, which a trailing marker type absorbs.
struct ListEnd {};
template <typename... T>
struct TypeList {};
template <typename Done, typename... Rest>
struct Strip;
template <typename... Done>
struct Strip<TypeList<Done...>, ListEnd> {
  using type = std::variant<Done...>;
};
template <typename... Done, typename Head, typename... Rest>
struct Strip<TypeList<Done...>, Head, Rest...> : Strip<TypeList<Done..., Head>, Rest...> {};
}  // namespace detail

using Attrs = detail::Strip<detail::TypeList<>,
#define OP(name, Attributes) Attributes,
#include "ops/ops.inc"
#undef OP
                            detail::ListEnd>::type;

/// "linear", "conv2d", …: the operator these attributes belong to.
std::string_view op_name(const Attrs& attrs) noexcept;
/// Type of the result. Throws shape_mismatch or invalid_argument where the inputs do not fit.
ValueType infer(const Attrs& attrs, Inputs inputs);
/// "stride=2 bias" – for printing graphs.
std::string to_string(const Attrs& attrs);
/// Attributes that hold sizes, with every symbol replaced by its value.
Attrs specialize(const Attrs& attrs, const Bindings& bindings);

}  // namespace easel::ops
