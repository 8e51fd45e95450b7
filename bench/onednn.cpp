#include "onednn.h"

#ifdef EASEL_HAVE_ONEDNN
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <initializer_list>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "ops/cost.h"
#endif

namespace easel::bench {

#ifndef EASEL_HAVE_ONEDNN

std::string onednn_version() { return {}; }
std::optional<double> onednn_seconds(const ops::OpCall&, int, const Timer&) { return std::nullopt; }

#else

namespace {

using dnnl::memory;
using Dims = memory::dims;
using Type = memory::data_type;
using Tag = memory::format_tag;

// Zeros everywhere: the speed does not depend on the values (denormals apart), and oneDNN only reads and writes.
memory zeros(const memory::desc& desc, const dnnl::engine& engine) {
  memory out(desc, engine);
  std::fill_n(static_cast<char*>(out.get_data_handle()), desc.get_size(), 0);
  return out;
}

Type output_type(const ops::OpCall& call) { return call.output.dtype == DType::bf16 ? Type::bf16 : Type::f32; }

template <typename Primitive, typename Descriptor>
double seconds_of(const Descriptor& descriptor, const dnnl::engine& engine, const Timer& timer) {
  const typename Primitive::primitive_desc primitive(descriptor, engine);
  dnnl::stream stream(engine);
  const std::unordered_map<int, memory> arguments = {{DNNL_ARG_SRC, zeros(primitive.src_desc(), engine)},
                                                     {DNNL_ARG_WEIGHTS, zeros(primitive.weights_desc(), engine)},
                                                     {DNNL_ARG_BIAS, zeros(primitive.bias_desc(), engine)},
                                                     {DNNL_ARG_DST, zeros(primitive.dst_desc(), engine)}};
  const Primitive run(primitive);
  return timer.best_seconds([&] {
    run.execute(stream, arguments);
    stream.wait();
  });
}

double linear_seconds(const ops::OpCall& call, Type type, const dnnl::engine& engine, const Timer& timer) {
  const Shape& x = call.inputs[0].shape;
  const Shape& w = call.inputs[1].shape;
  const dnnl::inner_product_forward::desc descriptor(
      dnnl::prop_kind::forward_inference, memory::desc({x.numel() / x.back(), x.back()}, type, Tag::nc),
      memory::desc({w[0], w[1]}, type, Tag::any), memory::desc({w[0]}, Type::f32, Tag::x),
      memory::desc({x.numel() / x.back(), w[0]}, output_type(call), Tag::nc));
  return seconds_of<dnnl::inner_product_forward>(descriptor, engine, timer);
}

double conv_seconds(const ops::OpCall& call, Type type, dnnl::algorithm algorithm, const dnnl::engine& engine,
                    const Timer& timer) {
  const auto& attrs = call.as<ops::Conv2dAttrs>();
  const Shape &x = call.inputs[0].shape, &w = call.inputs[1].shape, &y = call.output.shape;
  const dnnl::convolution_forward::desc descriptor(
      dnnl::prop_kind::forward_inference, algorithm, memory::desc({x[0], x[3], x[1], x[2]}, type, Tag::nhwc),
      memory::desc({w[0], w[1], w[2], w[3]}, type, Tag::any), memory::desc({w[0]}, Type::f32, Tag::x),
      memory::desc({y[0], y[3], y[1], y[2]}, output_type(call), Tag::nhwc), Dims{attrs.stride, attrs.stride},
      Dims{attrs.pad_top, attrs.pad_left}, Dims{attrs.pad_bottom, attrs.pad_right});
  return seconds_of<dnnl::convolution_forward>(descriptor, engine, timer);
}

}  // namespace

std::string onednn_version() {
  const dnnl::version_t* version = dnnl::version();
  return fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

std::optional<double> onednn_seconds(const ops::OpCall& call, int threads, const Timer& timer) {
  const bool linear = std::holds_alternative<ops::LinearAttrs>(call.attrs);
  if (!linear && !std::holds_alternative<ops::Conv2dAttrs>(call.attrs)) return std::nullopt;
  omp_set_num_threads(threads);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const Type type = ops::product_dtype_of(call) == DType::bf16 ? Type::bf16 : Type::f32;
  std::optional<double> best;
  for (const auto algorithm : {dnnl::algorithm::convolution_direct, dnnl::algorithm::convolution_winograd}) {
    try {
      const double seconds =
          linear ? linear_seconds(call, type, engine, timer) : conv_seconds(call, type, algorithm, engine, timer);
      if (!best || seconds < *best) best = seconds;
    } catch (const dnnl::error&) {  // no implementation of this algorithm for the shape or dtype
    }
    if (linear) break;
  }
  return best;
}

#endif

}  // namespace easel::bench
