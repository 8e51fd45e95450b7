#include "exec/call.h"

#include "base/fail.h"

namespace easel::exec {

ops::ArgType arg_type(const Tensor& tensor, bool constant) {
  return {tensor.dtype(), tensor.shape(), tensor.strides(), constant};
}

std::string rejections(const ops::OpCall& call, ops::Isa usable) {
  std::string out;
  for (const ops::Kernel* kernel : ops::kernels_of(call.attrs))
    out += fmt::format("{}{}: {}", out.empty() ? "" : "; ", kernel->name, ops::rejection(*kernel, call, usable));
  return out;
}

namespace {

ValueType result_type(const ops::Attrs& attrs, const std::vector<Tensor>& inputs) {
  std::vector<ValueType> types;
  for (const Tensor& input : inputs) types.push_back({input.dtype(), symbolic(input.shape())});
  return ops::infer(attrs, types);
}

}  // namespace

Tensor call(device::Context& context, const ops::Attrs& attrs, const std::vector<Tensor>& inputs) {
  const ValueType result = result_type(attrs, inputs);
  Tensor output = Tensor::empty(result.dtype, evaluate(result.shape, {}));
  call_into(context, attrs, inputs, output);
  return output;
}

void call_into(device::Context& context, const ops::Attrs& attrs, const std::vector<Tensor>& inputs,
               const Tensor& output) {
  const ValueType result = result_type(attrs, inputs);
  const Shape shape = evaluate(result.shape, {});
  if (output.dtype() != result.dtype || !(output.shape() == shape) || !output.contiguous())
    fail(ErrorCode::shape_mismatch, "{}: expected an output of {} {}, found {} {}", ops::op_name(attrs),
         to_string(result.dtype), shape.str(), to_string(output.dtype()), output.shape().str());

  const bool weighted =
      std::holds_alternative<ops::LinearAttrs>(attrs) || std::holds_alternative<ops::Conv2dAttrs>(attrs);
  const auto* linear = std::get_if<ops::LinearAttrs>(&attrs);
  const size_t side = linear && linear->low_rank ? linear->low_rank_input() + 1 : 1;
  ops::OpCall op{attrs, {}, arg_type(output)};
  for (size_t i = 0; i < inputs.size(); ++i)
    op.inputs.push_back(arg_type(inputs[i], weighted && (i == 1 || i == side)));
  const ops::Kernel* kernel = ops::choose_kernel(op, context.isa);
  if (!kernel)
    fail(ErrorCode::unsupported, "{}: no kernel fits ({})", ops::op_name(attrs), rejections(op, context.isa));

  std::vector<Tensor> packed;
  std::vector<const void*> pointers;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ops::PackFormat* format =
        op.inputs[i].constant && kernel->format ? kernel->format(op, static_cast<int>(i)) : nullptr;
    if (format) {
      packed.push_back(Tensor::empty(DType::u8, {format->bytes(op.inputs[i])}));
      format->pack(op.inputs[i], inputs[i].raw(), packed.back().raw(), *context.pool);
      pointers.push_back(packed.back().raw());
    } else {
      pointers.push_back(inputs[i].raw());
    }
  }
  const int64_t scratch_bytes = kernel->scratch_bytes ? kernel->scratch_bytes(op, context.pool->threads()) : 0;
  const Tensor scratch = Tensor::empty(DType::u8, {scratch_bytes});
  kernel->run({op, pointers.data(), output.raw(), scratch.raw(), *context.pool});
}

}  // namespace easel::exec
