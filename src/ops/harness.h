// One generic test for every kernel of every operator. An operator's test.cpp supplies cases; ops_test runs each row of
// each kernels.inc on all of them against the reference, and bench_ops times the rows on the benchmark shapes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ops/attrs.h"
#include "ops/kernel.h"

namespace easel::ops::testing {

/// An input: random, seeded, normally distributed unless `values` are given.
struct Arg {
  Shape shape;
  DType dtype = DType::f32;
  bool constant = false;  ///< a weight, offered to the kernel's packing
  double mean = 0, deviation = 1;
  double low = 0, high = -1;     ///< low ≤ high: uniform in this range instead (integers: both ends included)
  std::vector<double> values{};  ///< row-major, instead of random numbers
  BlockFormat encoding = BlockFormat::none;  ///< rows in blocks with random levels and scales
};

inline Arg weight(Shape shape, DType dtype = DType::f32, double deviation = 1) {
  return {.shape = shape, .dtype = dtype, .constant = true, .deviation = deviation};
}

inline Arg blocks(Shape shape, BlockFormat encoding, DType dtype = DType::f32) {
  return {.shape = shape, .dtype = dtype, .constant = true, .encoding = encoding};
}

/// What to do where a NaN or an infinity goes in.
enum class NonFinite {
  exact,    ///< NaN and ±Inf stand exactly where the reference has them
  spreads,  ///< they stand at least there, and other elements may be lost too (Winograd tiles)
  skip,     ///< not tried
};

struct Case {
  Attrs attrs;
  std::vector<Arg> inputs;
  /// |y − reference| ≤ tolerance · epsilon(precision) · max(|reference|, scale), scale: the largest |reference| of the
  /// whole output unless given. epsilon: 2⁻²³ for f32, 2⁻¹⁰ for f16, 2⁻⁷ for bf16. 0: the same bytes.
  double tolerance = 4;
  DType precision = DType::f32;
  double scale = 0;
  NonFinite nonfinite = NonFinite::exact;
  /// The result worked out by hand: checks the reference, too.
  std::vector<double> expected{};
  /// For the benchmark: bytes read and written, where they are not those of all inputs and the output.
  double bytes = 0;
  /// Whose shape a benchmark has: sd15, sdxl, flux or wan; blocks: sd15's, with weights that stay packed.
  std::string_view model = "sd15";
};

struct OpTests {
  std::vector<Case> cases;
  std::vector<Case> benchmarks{};
};

/// The call a case makes when all arguments are contiguous.
OpCall make_call(const Case& test_case);
/// "softmax causal f32 [2, 3]"
std::string describe(const Case& test_case);
/// `test_case` with input `index` random, as bytes.
std::vector<std::byte> make_values(const Case& test_case, size_t index);
/// Makes one element `value`; of blocks, everything that shares the scale of the element.
void put_value(const ArgType& type, std::vector<std::byte>& bytes, int64_t at, double value);

/// Every operator's test.cpp defines <op>_tests() in this namespace; this finds it. Empty where there is no test.cpp.
OpTests tests_of(size_t op_index);
/// Folder names in the order of ops.inc.
std::string_view op_name_at(size_t op_index);

/// 1, 2, …, 2·16+1: lengths around every vector width, for cases that walk them.
std::vector<int64_t> tail_lengths();

}  // namespace easel::ops::testing
