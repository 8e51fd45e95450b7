#include "ops/cost.h"

#include "base/fail.h"

namespace easel::ops {

const char* to_string(OpClass op_class) noexcept {
  switch (op_class) {
    case OpClass::linear: return "linear";
    case OpClass::conv_1x1: return "conv 1x1";
    case OpClass::conv_3x3: return "conv 3x3";
    case OpClass::conv_other: return "conv";
    case OpClass::attention: return "attention";
    case OpClass::norm: return "norm";
    case OpClass::elementwise: return "element-wise";
    case OpClass::movement: return "movement";
  }
  return "?";
}

namespace {

template <typename T>
struct Tag {};

// One overload per operator that is more than movement: a new operator is counted there until it says otherwise.
template <typename A>
OpClass class_of(Tag<A>, const OpCall&) {
  return OpClass::movement;
}
OpClass class_of(Tag<LinearAttrs>, const OpCall& call) {
  return call.inputs[0].shape.rank() == 4 ? OpClass::conv_1x1 : OpClass::linear;
}
OpClass class_of(Tag<Conv2dAttrs>, const OpCall& call) {
  const Shape& w = call.inputs[1].shape;
  if (w[2] == 3 && w[3] == 3) return OpClass::conv_3x3;
  return w[2] == 1 && w[3] == 1 ? OpClass::conv_1x1 : OpClass::conv_other;
}
OpClass class_of(Tag<AttentionAttrs>, const OpCall&) { return OpClass::attention; }
OpClass class_of(Tag<MatmulAttrs>, const OpCall&) { return OpClass::attention; }
OpClass class_of(Tag<SoftmaxAttrs>, const OpCall&) { return OpClass::attention; }
OpClass class_of(Tag<GroupNormAttrs>, const OpCall&) { return OpClass::norm; }
OpClass class_of(Tag<LayerNormAttrs>, const OpCall&) { return OpClass::norm; }
OpClass class_of(Tag<ActivationAttrs>, const OpCall&) { return OpClass::elementwise; }
OpClass class_of(Tag<PReluAttrs>, const OpCall&) { return OpClass::elementwise; }
OpClass class_of(Tag<GegluAttrs>, const OpCall&) { return OpClass::elementwise; }
OpClass class_of(Tag<BinaryAttrs>, const OpCall&) { return OpClass::elementwise; }
OpClass class_of(Tag<CastAttrs>, const OpCall&) { return OpClass::elementwise; }
OpClass class_of(Tag<FourierFilterAttrs>, const OpCall&) { return OpClass::elementwise; }
OpClass class_of(Tag<TimestepEmbeddingAttrs>, const OpCall&) { return OpClass::elementwise; }

}  // namespace

OpClass op_class_of(const OpCall& call) noexcept {
  return std::visit([&]<typename A>(const A&) { return class_of(Tag<A>(), call); }, call.attrs);
}

double flops_of(const OpCall& call) {
  const auto size = [](const ArgType& arg) { return static_cast<double>(arg.shape.numel()); };
  if (const auto* linear = std::get_if<LinearAttrs>(&call.attrs)) {
    const double side = linear->low_rank ? size(call.inputs[linear->low_rank_input()]) : 0;
    return 2 * (size(call.inputs[0]) + side) * static_cast<double>(call.inputs[1].shape[0]);
  }
  if (std::holds_alternative<Conv2dAttrs>(call.attrs)) {
    const Shape& w = call.inputs[1].shape;  // [O, C, kh, kw]
    return 2 * size(call.output) * static_cast<double>(w[1] * w[2] * w[3]);
  }
  if (std::holds_alternative<MatmulAttrs>(call.attrs))
    return 2 * size(call.inputs[0]) * static_cast<double>(call.output.shape.back());
  if (std::holds_alternative<AttentionAttrs>(call.attrs))  // q·kᵀ and p·v
    return 4 * size(call.inputs[0]) * static_cast<double>(call.inputs[1].shape[1]);
  return 0;
}

double bytes_of(const OpCall& call) {
  const auto bytes = [](const ArgType& arg) { return static_cast<double>(arg.bytes()); };
  double sum = bytes(call.output);
  for (const ArgType& input : call.inputs) sum += bytes(input);
  return sum;
}

DType product_dtype_of(const OpCall& call) noexcept {
  if (const auto* attention = std::get_if<AttentionAttrs>(&call.attrs))
    return attention->precision == DType::bf16 ? DType::bf16 : DType::f32;
  const bool weighted =
      std::holds_alternative<LinearAttrs>(call.attrs) || std::holds_alternative<Conv2dAttrs>(call.attrs);
  return weighted && call.inputs[1].dtype == DType::bf16 ? DType::bf16 : DType::f32;
}

std::string shapes_of(const OpCall& call) {
  const auto text = [](const ArgType& arg) {
    const bool packed = arg.encoding != BlockFormat::none;
    return fmt::format("{}{}{} {}", easel::to_string(arg.dtype), packed ? ":" : "", easel::to_string(arg.encoding),
                       arg.shape.str());
  };
  std::string out;
  for (const ArgType& input : call.inputs) out += text(input) + " ";
  return out + "-> " + text(call.output);
}

}  // namespace easel::ops
