// Cases turned into calls and bytes: shared by the test and the benchmark.
#include <cmath>
#include <numbers>

#include "ops/harness.h"
#include "tensor/convert.h"

#define TESTED(name)              \
  namespace easel::ops::testing { \
  OpTests name##_tests();         \
  }
#include "ops/all_tests.inc"
#undef TESTED

namespace easel::ops::testing {

namespace {

// splitmix64: the same numbers with every standard library.
struct Random {
  uint64_t state;
  uint64_t bits() {
    uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>((bits() >> 11) + 1) * 0x1p-53; }  // (0, 1]
  double normal() { return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi * uniform()); }
};

// Where the binary16 scale and offset of a block stand; −1: there is none.
struct Scales {
  int scale = 0, offset = -1;
};
Scales scales_of(BlockFormat format) {
  switch (format) {
    case BlockFormat::q4_1:
    case BlockFormat::q5_1:
    case BlockFormat::q4_k:
    case BlockFormat::q5_k: return {0, 2};
    case BlockFormat::q2_k: return {80, 82};
    case BlockFormat::q3_k: return {108, -1};
    case BlockFormat::q6_k: return {208, -1};
    default: return {0, -1};
  }
}

bool is_fp8(BlockFormat format) { return format == BlockFormat::f8_e4m3 || format == BlockFormat::f8_e5m2; }

// Every bit of the blocks is random but those of the scales, which are numbers of a size: values are about 1.
std::vector<std::byte> random_blocks(const Arg& arg, Random& random) {
  const int64_t count = arg.shape.numel();
  std::vector<std::byte> bytes(static_cast<size_t>(bytes_in_blocks(arg.encoding, count)));
  if (is_fp8(arg.encoding)) {
    const DType dtype = arg.encoding == BlockFormat::f8_e4m3 ? DType::f8_e4m3 : DType::f8_e5m2;
    for (int64_t i = 0; i < count; ++i) store_from_double(bytes.data(), dtype, i, random.normal());
    return bytes;
  }
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.bits());
  const Scales at = scales_of(arg.encoding);
  const auto size = static_cast<size_t>(block_bytes(arg.encoding));
  const double unit = block_elements(arg.encoding) == 32 ? 0x1p-4 : 0x1p-9;
  for (std::byte* block = bytes.data(); block < bytes.data() + bytes.size(); block += size) {
    store_from_double(block + at.scale, DType::f16, 0, unit * random.normal());
    if (at.offset >= 0) store_from_double(block + at.offset, DType::f16, 0, unit * random.normal());
  }
  return bytes;
}

}  // namespace

OpCall make_call(const Case& test_case) {
  OpCall call{test_case.attrs, {}, {}};
  std::vector<ValueType> types;
  for (const Arg& arg : test_case.inputs) {
    call.inputs.push_back({arg.dtype, arg.shape, contiguous_strides(arg.shape), arg.constant, arg.encoding});
    types.push_back({arg.dtype, symbolic(arg.shape)});
  }
  const ValueType y = infer(test_case.attrs, types);
  const Shape shape = evaluate(y.shape, {});
  call.output = {y.dtype, shape, contiguous_strides(shape), false};
  return call;
}

std::string describe(const Case& test_case) {
  std::string text = std::string(op_name(test_case.attrs)) + to_string(test_case.attrs);
  for (const Arg& arg : test_case.inputs)
    text += fmt::format(" {}{}{} {}", easel::to_string(arg.encoding), arg.encoding == BlockFormat::none ? "" : "→",
                        easel::to_string(arg.dtype), arg.shape.str());
  return text;
}

std::vector<std::byte> make_values(const Case& test_case, size_t index) {
  const Arg& arg = test_case.inputs[index];
  const int64_t count = arg.shape.numel();
  Random random{0xEA5E1 + index * 7919 + static_cast<uint64_t>(count)};
  if (arg.encoding != BlockFormat::none) return random_blocks(arg, random);
  std::vector<std::byte> bytes(static_cast<size_t>(count * size_of(arg.dtype)));
  for (int64_t i = 0; i < count; ++i) {
    double value;
    if (!arg.values.empty())
      value = arg.values[static_cast<size_t>(i)];
    else if (arg.low <= arg.high)
      value = is_floating(arg.dtype) ? arg.low + (arg.high - arg.low) * random.uniform()
                                     : arg.low + std::floor((arg.high - arg.low + 1) * (random.uniform() - 0x1p-53));
    else
      value = arg.mean + arg.deviation * random.normal();
    store_from_double(bytes.data(), arg.dtype, i, value);
  }
  return bytes;
}

void put_value(const ArgType& type, std::vector<std::byte>& bytes, int64_t at, double value) {
  if (type.encoding == BlockFormat::none) return store_from_double(bytes.data(), type.dtype, at, value);
  const DType dtype = type.encoding == BlockFormat::f8_e4m3 ? DType::f8_e4m3 : DType::f8_e5m2;
  if (is_fp8(type.encoding)) return store_from_double(bytes.data(), dtype, at, value);
  const int64_t block = at / block_elements(type.encoding);
  store_from_double(bytes.data() + block * block_bytes(type.encoding) + scales_of(type.encoding).scale, DType::f16, 0,
                    value);
}

OpTests tests_of(size_t op_index) {
  const std::string_view name = op_name_at(op_index);
#define TESTED(op) \
  if (name == #op) return op##_tests();
#include "ops/all_tests.inc"
#undef TESTED
  return {};
}

std::string_view op_name_at(size_t op_index) {
  static constexpr std::string_view kNames[] = {
#define OP(name, Attributes) #name,
#include "ops/ops.inc"
#undef OP
  };
  return kNames[op_index];
}

std::vector<int64_t> tail_lengths() {
  std::vector<int64_t> lengths;
  for (int64_t i = 1; i <= 33; ++i) lengths.push_back(i);
  return lengths;
}

}  // namespace easel::ops::testing
