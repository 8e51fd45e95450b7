// The generic test: every kernel row on every case of its operator, against the reference.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "ops/harness_check.h"
#include "tensor/convert.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(data, bytes) (void)0
#define ASAN_UNPOISON_MEMORY_REGION(data, bytes) (void)0
#endif

namespace easel::ops::testing {

namespace {

using Bytes = std::vector<std::byte>;

// Memory with guards before and after. Everything starts as NaN in each floating type, so that a read outside spoils
// the result and an element that was never written shows.
class Guarded {
 public:
  Guarded(int64_t bytes, int64_t misalignment) : bytes_(bytes), storage_(static_cast<size_t>(bytes) + 3 * kGuard) {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data() + kGuard);
    data_ = storage_.data() + kGuard + (64 - address % 64) % 64 + misalignment;
    for (size_t i = 0; i < storage_.size(); ++i) storage_[i] = pattern(storage_.data() + i);
    poison(true);
  }
  ~Guarded() { poison(false); }
  Guarded(const Guarded&) = delete;
  std::byte* data() const { return data_; }
  bool intact() const {
    poison(false);
    bool same = true;
    for (const std::byte* p = storage_.data(); p < storage_.data() + storage_.size(); ++p)
      same &= (p >= data_ && p < data_ + bytes_) || *p == pattern(p);
    poison(true);
    return same;
  }

 private:
  static constexpr int64_t kGuard = 256;
  std::byte pattern(const std::byte* p) const { return std::byte((p - data_) & 1 ? 0xFF : 0xFE); }
  void poison(bool on) const {
    const size_t before = static_cast<size_t>(data_ - storage_.data()), size = static_cast<size_t>(bytes_);
    if (on) {
      ASAN_POISON_MEMORY_REGION(storage_.data(), before);
      ASAN_POISON_MEMORY_REGION(data_ + size, storage_.size() - before - size);
    } else {
      ASAN_UNPOISON_MEMORY_REGION(storage_.data(), storage_.size());
    }
    (void)before, (void)size;
  }
  int64_t bytes_;
  Bytes storage_;
  std::byte* data_;
};

using GuardedPtr = std::unique_ptr<Guarded>;

ThreadPool& pool_of(int threads) {
  static ThreadPool one(1), three(3);
  return threads == 1 ? one : three;
}

// Calls body(offset of the element in the strided layout, row-major number).
template <typename Body>
void each_element(const ArgType& type, Body&& body) {
  const int64_t count = type.shape.numel();
  Shape index = type.shape;
  for (int i = 0; i < index.rank(); ++i) index[i] = 0;
  for (int64_t number = 0; number < count; ++number) {
    int64_t offset = 0;
    for (int i = 0; i < index.rank(); ++i) offset += index[i] * type.strides[i];
    body(offset, number);
    for (int i = index.rank() - 1; i >= 0 && ++index[i] == type.shape[i]; --i) index[i] = 0;
  }
}

int64_t span_bytes(const ArgType& type) {
  if (type.encoding != BlockFormat::none) return type.bytes();
  int64_t last = 0;
  for (int i = 0; i < type.shape.rank(); ++i) {
    if (type.shape[i] == 0) return 0;
    last += (type.shape[i] - 1) * type.strides[i];
  }
  return (last + 1) * size_of(type.dtype);
}

struct Run {
  int threads = 1;
  bool misaligned = false;
  int in_place = -1;
};

// Runs the kernel once; adds to `problems` where it touches what is not its own.
Bytes execute(const Kernel& kernel, const OpCall& call, const std::vector<Bytes>& values, Run run,
              std::vector<std::string>& problems) {
  std::vector<GuardedPtr> buffers;
  std::vector<GuardedPtr> packed;
  std::vector<Bytes> before;
  std::vector<const void*> inputs;
  ThreadPool& pool = pool_of(run.threads);
  const auto offset = [&](const ArgType& type) {
    return run.misaligned ? (type.encoding == BlockFormat::none ? size_of(type.dtype) : 1) : 0;
  };
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const ArgType& type = call.inputs[i];
    const auto size = static_cast<size_t>(size_of(type.dtype));
    buffers.push_back(std::make_unique<Guarded>(span_bytes(type), offset(type)));
    std::byte* data = buffers.back()->data();
    if (type.encoding != BlockFormat::none)
      std::memcpy(data, values[i].data(), values[i].size());
    else
      each_element(type, [&](int64_t at, int64_t number) {
        std::memcpy(data + static_cast<size_t>(at) * size, values[i].data() + static_cast<size_t>(number) * size, size);
      });
    before.emplace_back(data, data + span_bytes(type));
    inputs.push_back(data);
    const PackFormat* format = type.constant && kernel.format ? kernel.format(call, static_cast<int>(i)) : nullptr;
    if (!format) continue;
    packed.push_back(std::make_unique<Guarded>(format->bytes(type), 0));
    format->pack(type, data, packed.back()->data(), pool);
    if (!packed.back()->intact()) problems.push_back(fmt::format("packing input {} writes outside its memory", i));
    inputs.back() = packed.back()->data();
  }
  const Guarded result(span_bytes(call.output), offset(call.output));
  const Bytes untouched(result.data(), result.data() + span_bytes(call.output));
  std::byte* output = run.in_place < 0 ? result.data() : buffers[static_cast<size_t>(run.in_place)]->data();
  const Guarded scratch(kernel.scratch_bytes ? kernel.scratch_bytes(call, run.threads) : 0, 0);
  kernel.run({call, inputs.data(), output, scratch.data(), pool});
  if (!result.intact()) problems.push_back("writes outside the output");
  if (!scratch.intact()) problems.push_back("writes outside the scratch memory");
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (!buffers[i]->intact()) problems.push_back(fmt::format("writes around input {}", i));
    if (static_cast<int>(i) != run.in_place && !before[i].empty() &&
        std::memcmp(before[i].data(), buffers[i]->data(), before[i].size()) != 0)
      problems.push_back(fmt::format("changes input {}", i));
  }
  const auto size = static_cast<size_t>(size_of(call.output.dtype));
  Bytes dense(static_cast<size_t>(call.output.shape.numel()) * size), around(output, output + untouched.size());
  each_element(call.output, [&](int64_t at, int64_t number) {
    const size_t from = static_cast<size_t>(at) * size;
    std::memcpy(dense.data() + static_cast<size_t>(number) * size, output + from, size);
    std::memcpy(around.data() + from, untouched.data() + from, size);
  });
  if (run.in_place < 0 && around != untouched) problems.push_back("writes between the rows of the output");
  return dense;
}

double epsilon(DType dtype) {
  switch (dtype) {
    case DType::bf16: return 0x1p-7;
    case DType::f16: return 0x1p-10;
    default: return 0x1p-23;
  }
}

// Empty where y is good enough. `worst` is raised to the largest error met, in epsilons.
std::string compare(const Case& c, const OpCall& call, const Bytes& y, const Bytes& reference, NonFinite nonfinite,
                    double* worst) {
  const DType dtype = call.output.dtype;
  const int64_t count = call.output.shape.numel();
  if (c.tolerance == 0) {
    for (size_t i = 0; i < y.size(); ++i)
      if (y[i] != reference[i])
        return fmt::format("byte {} is {:#x}, expected {:#x}", i, static_cast<int>(y[i]),
                           static_cast<int>(reference[i]));
    return "";
  }
  double scale = c.scale;
  for (int64_t i = 0; i < count && c.scale == 0; ++i) {
    const double r = std::abs(load_as_double(reference.data(), dtype, i));
    if (std::isfinite(r)) scale = std::max(scale, r);
  }
  std::string first;
  for (int64_t i = 0; i < count; ++i) {
    const double r = load_as_double(reference.data(), dtype, i), v = load_as_double(y.data(), dtype, i);
    bool good;
    if (nonfinite == NonFinite::spreads && !std::isfinite(v))
      good = true;
    else if (!std::isfinite(r))
      good = std::isnan(r) ? std::isnan(v) : v == r;
    else {
      const double unit = epsilon(c.precision) * std::max(std::abs(r), scale);
      const double error = v == r ? 0 : std::abs(v - r) / unit;
      good = error <= c.tolerance;
      if (worst && good) *worst = std::max(*worst, error);
    }
    if (!good && first.empty()) first = fmt::format("element {} is {:.9g}, expected {:.9g}", i, v, r);
  }
  return first;
}

// The same call with one input as a view into a wider tensor, along its last or its second axis.
bool widen(ArgType& type, bool rows) {
  if (type.constant || type.shape.rank() < (rows ? 2 : 3)) return false;
  Shape outer = type.shape;
  outer[rows ? -1 : 1] += rows ? 7 : 1;
  type.strides = contiguous_strides(outer);
  return true;
}

}  // namespace

Outcome check(const Kernel& kernel, const Kernel& reference, const Case& c, References& references) {
  Outcome out;
  const OpCall call = make_call(c);
  const Isa isa = device::usable_isa();
  out.reason = rejection(kernel, call, isa);
  if (!out.reason.empty()) return out;
  const std::string refused = rejection(reference, call, isa);
  if (!refused.empty()) {
    out.problems.push_back("the reference refuses: " + refused);
    return out;
  }
  std::vector<Bytes> values;
  for (size_t i = 0; i < c.inputs.size(); ++i) values.push_back(make_values(c, i));

  const auto expect = [&](const std::string& what, const std::string& problem) {
    if (!problem.empty()) out.problems.push_back(what + ": " + problem);
  };
  const auto same = [&](const std::string& what, const Bytes& y, const Bytes& base) {
    for (size_t i = 0; i < y.size(); ++i)
      if (y[i] != base[i]) return expect(what, fmt::format("another result at byte {}", i));
  };

  const auto reference_result = [&](int key, const std::vector<Bytes>& inputs) -> const Bytes& {
    const auto found = references.find(key);
    if (found != references.end()) return found->second;
    return references[key] = execute(reference, call, inputs, {}, out.problems);
  };
  const Bytes& expected = reference_result(0, values);
  const Bytes base = execute(kernel, call, values, {}, out.problems);
  expect("result", compare(c, call, base, expected, NonFinite::exact, &out.worst));
  if (!c.expected.empty()) {
    Bytes by_hand(base.size());
    for (size_t i = 0; i < c.expected.size(); ++i)
      store_from_double(by_hand.data(), call.output.dtype, static_cast<int64_t>(i), c.expected[i]);
    expect("by hand", compare(c, call, base, by_hand, NonFinite::exact, nullptr));
  }
  if (!out.problems.empty()) return out;  // the rest would only say it again
  same("three threads", execute(kernel, call, values, {.threads = 3}, out.problems), base);
  same("misaligned", execute(kernel, call, values, {.misaligned = true}, out.problems), base);
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const ArgType& type = call.inputs[i];
    if (kernel.in_place >> i & 1 && type.dtype == call.output.dtype && type.shape == call.output.shape &&
        !type.constant)
      same("in place", execute(kernel, call, values, {.threads = 3, .in_place = static_cast<int>(i)}, out.problems),
           base);
  }

  // Other forms of the same call, where the row takes them.
  const auto variant = [&](const std::string& what, const OpCall& other) {
    if (*rejection(kernel, other, isa) != '\0') return;
    const Bytes y = execute(kernel, other, values, {.misaligned = true}, out.problems);
    expect(what, compare(c, call, y, expected, NonFinite::exact, &out.worst));
  };
  for (const bool rows : {true, false}) {
    OpCall all = call;
    bool any = false;
    for (size_t i = 0; i < call.inputs.size(); ++i) {
      OpCall one = call;
      if (widen(one.inputs[i], rows)) variant(fmt::format("strided input {}", i), one);
      any |= widen(all.inputs[i], rows);
    }
    if (any) variant("strided inputs", all);
  }
  OpCall placed = call;
  if (kernel.strided_output && widen(placed.output, true)) variant("strided output", placed);
  OpCall unpacked = call;
  bool weights = false;
  for (ArgType& type : unpacked.inputs) weights |= std::exchange(type.constant, false);
  if (weights) variant("weights that are no constants", unpacked);

  if (c.nonfinite == NonFinite::skip || c.tolerance == 0) return out;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const ArgType& type = call.inputs[i];
    if (!is_floating(type.dtype) || values[i].empty()) continue;
    const int64_t at = type.shape.numel() * 2 / 3;
    int key = 3 * static_cast<int>(i);
    for (const double special : {double{NAN}, double{INFINITY}, -double{INFINITY}}) {
      std::vector<Bytes> spoiled = values;
      put_value(type, spoiled[i], at, special);
      const Bytes& wanted = reference_result(++key, spoiled);
      const Bytes found = execute(kernel, call, spoiled, {}, out.problems);
      expect(fmt::format("{} in input {}", special, i), compare(c, call, found, wanted, c.nonfinite, nullptr));
    }
  }
  return out;
}

namespace {

struct Row {
  size_t op;
  const Kernel* kernel;
};

std::vector<Row> all_rows() {
  std::vector<Row> rows;
  for (size_t op = 0; op < kOpCount; ++op)
    for (const Kernel* kernel : kernels_of(op)) rows.push_back({op, kernel});
  return rows;
}

void PrintTo(const Row& row, std::ostream* out) { *out << op_name_at(row.op) << '/' << row.kernel->name; }

class Operators : public ::testing::TestWithParam<Row> {};

TEST_P(Operators, EveryCase) {
  static std::map<size_t, OpTests> tests;
  static std::map<const Case*, References> references;
  const auto [op, kernel] = GetParam();
  const Isa isa = device::usable_isa();
  if (kernel->isa > isa) GTEST_SKIP() << "needs " << to_string(kernel->isa) << ", usable is " << to_string(isa);
  if (!tests.count(op)) tests[op] = tests_of(op);
  int reached = 0;
  double worst = 0;
  std::string reason = "there are no cases";
  for (const Case& c : tests[op].cases) {
    const Outcome outcome = check(*kernel, *kernels_of(op).back(), c, references[&c]);
    reached += outcome.reason.empty();
    if (!outcome.reason.empty()) reason = outcome.reason;
    worst = std::max(worst, outcome.worst);
    for (const std::string& problem : outcome.problems) ADD_FAILURE() << describe(c) << ": " << problem;
    if (::testing::Test::HasFailure() && ::testing::UnitTest::GetInstance()->failed_test_count() > 20) break;
  }
  EXPECT_GT(reached, 0) << "no case reaches this row: " << reason;
  fmt::print("  {} cases, worst error {:.2f} epsilons\n", reached, worst);
}

std::string row_name(const ::testing::TestParamInfo<Row>& info) {
  return fmt::format("{}_{}", op_name_at(info.param.op), info.param.kernel->name);
}

INSTANTIATE_TEST_SUITE_P(Row, Operators, ::testing::ValuesIn(all_rows()), row_name);

TEST(Registry, EndsInReferencesThatRunEverywhere) {
  for (size_t op = 0; op < kOpCount; ++op) {
    const auto kernels = kernels_of(op);
    ASSERT_FALSE(kernels.empty()) << op_name_at(op) << " has no kernel";
    EXPECT_STREQ(kernels.back()->name, "reference") << op_name_at(op);
    EXPECT_EQ(kernels.back()->isa, Isa::baseline) << op_name_at(op);
  }
}

}  // namespace

}  // namespace easel::ops::testing
