// What both ways of convolving take from a call: its arguments, and where one pixel of them lies.
namespace easel::ops {
namespace {

struct ConvPointers {
  const float *bias = nullptr, *channel_bias = nullptr, *slope = nullptr, *residual = nullptr;
  const ArgType *channel_bias_type = nullptr, *residual_type = nullptr;
  const ArgType& out_type;
  std::byte* out;

  explicit ConvPointers(const KernelArgs& args)
      : out_type(args.call.output), out(static_cast<std::byte*>(args.output)) {
    const auto& attrs = args.call.as<Conv2dAttrs>();
    size_t next = 2;
    const auto take = [&](const float*& pointer, const ArgType** type) {
      pointer = static_cast<const float*>(args.inputs[next]);
      if (type) *type = &args.call.inputs[next];
      ++next;
    };
    if (attrs.bias) take(bias, nullptr);
    if (attrs.channel_bias) take(channel_bias, &channel_bias_type);
    if (attrs.slope()) take(slope, nullptr);
    if (attrs.residual) take(residual, &residual_type);
  }

  /// What follows the sums of every row alike.
  Epilogue epilogue(const Conv2dAttrs& attrs) const {
    return {bias, slope, attrs.activation, past_caches(out_type, out), out_type.dtype == DType::bf16};
  }

  /// Result, residual and channel bias of pixel (y, x) of picture b, as rows of a tile want them.
  template <typename Rows>
  void set_row(Rows& rows, int row, int64_t b, int64_t y, int64_t x) const {
    const Shape& to = out_type.strides;
    rows.out[row] = out + (b * to[0] + y * to[1] + x * to[2]) * size_of(out_type.dtype);
    rows.channel_bias[row] = channel_bias ? channel_bias + b * channel_bias_type->strides[0] : nullptr;
    rows.residual[row] = nullptr;
    if (const ArgType* type = residual_type)
      rows.residual[row] = residual + b * type->strides[0] + y * type->strides[1] + x * type->strides[2];
  }
};

}  // namespace
}  // namespace easel::ops
