// The harness must find what it claims to find: kernels broken in one way each.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/harness_check.h"

namespace easel::ops::testing {

namespace {

const Case kCase{.attrs = ActivationAttrs{Activation::silu}, .inputs = {{.shape = {4, 9}}}};
constexpr int64_t kCount = 36;

const float* input(const KernelArgs& args) { return static_cast<const float*>(args.inputs[0]); }
float* output(const KernelArgs& args) { return static_cast<float*>(args.output); }
float silu(float x) { return static_cast<float>(x / (1.0 + std::exp(-static_cast<double>(x)))); }

const char* accept(const OpCall&) noexcept { return nullptr; }
const char* contiguous_only(const OpCall& call) noexcept {
  return call.inputs[0].contiguous() ? nullptr : "needs contiguous rows";
}
void good(const KernelArgs& args) noexcept {
  for (int64_t i = 0; i < kCount; ++i) output(args)[i] = silu(input(args)[i]);
}
void inexact(const KernelArgs& args) noexcept {
  for (int64_t i = 0; i < kCount; ++i) output(args)[i] = silu(input(args)[i]) + (i == 35 ? 1e-5f : 0.0f);
}
void too_short(const KernelArgs& args) noexcept {
  for (int64_t i = 0; i + 1 < kCount; ++i) output(args)[i] = silu(input(args)[i]);
}
#if !defined(__SANITIZE_ADDRESS__)
void too_long(const KernelArgs& args) noexcept {
  good(args);
  output(args)[kCount] = 0;
}
#endif
void by_threads(const KernelArgs& args) noexcept {
  good(args);
  if (args.pool.threads() > 1) output(args)[0] = std::nextafter(output(args)[0], 1.0f);
}
void by_address(const KernelArgs& args) noexcept {
  good(args);
  if (reinterpret_cast<uintptr_t>(args.inputs[0]) % 64) output(args)[0] = std::nextafter(output(args)[0], 1.0f);
}
void not_in_place(const KernelArgs& args) noexcept {
  output(args)[0] = 0;
  for (int64_t i = kCount; i-- > 0;) output(args)[i] = silu(input(args)[i]);
}
void loses_nan(const KernelArgs& args) noexcept {
  for (int64_t i = 0; i < kCount; ++i) output(args)[i] = std::isnan(input(args)[i]) ? 0.0f : silu(input(args)[i]);
}
void greedy_scratch(const KernelArgs& args) noexcept {
  good(args);
  args.scratch[0] = std::byte{1};
}

Outcome outcome(void (*run)(const KernelArgs&) noexcept, unsigned in_place = 0, bool strides = false) {
  const Kernel reference{.name = "reference", .reject = contiguous_only, .run = good};
  const Kernel kernel{.name = "broken", .reject = strides ? accept : contiguous_only, .run = run, .in_place = in_place};
  References references;
  return check(kernel, reference, kCase, references);
}

TEST(Harness, AcceptsAGoodKernel) {
  const Outcome result = outcome(good, 1);
  EXPECT_EQ(result.reason, "");
  EXPECT_EQ(result.problems, std::vector<std::string>());
  EXPECT_EQ(result.worst, 0);
}

TEST(Harness, FindsEachKindOfMistake) {
  EXPECT_FALSE(outcome(inexact).problems.empty());
  EXPECT_FALSE(outcome(too_short).problems.empty());
  EXPECT_FALSE(outcome(by_threads).problems.empty());
  EXPECT_FALSE(outcome(by_address).problems.empty());
  EXPECT_TRUE(outcome(not_in_place).problems.empty());
  EXPECT_FALSE(outcome(not_in_place, 1).problems.empty());
  EXPECT_FALSE(outcome(loses_nan).problems.empty());
  EXPECT_FALSE(outcome(good, 0, true).problems.empty()) << "ignores strides that it accepts";
#if !defined(__SANITIZE_ADDRESS__)  // which stops the program at once instead
  EXPECT_FALSE(outcome(too_long).problems.empty());
  EXPECT_FALSE(outcome(greedy_scratch).problems.empty());
#else
  (void)greedy_scratch;
#endif
}

TEST(Harness, WrongByHandResultsShow) {
  Case wrong = kCase;
  wrong.expected.assign(kCount, 0.25);
  const Kernel reference{.name = "reference", .reject = contiguous_only, .run = good};
  References references;
  EXPECT_FALSE(check(reference, reference, wrong, references).problems.empty());
}

TEST(Registry, RejectsWhatTheProcessorLacks) {
  const Kernel kernel{.name = "x", .isa = Isa::avx512_bf16, .reject = contiguous_only, .run = good};
  const OpCall call = make_call(kCase);
  EXPECT_STREQ(rejection(kernel, call, Isa::avx512), "needs avx512_bf16");
  EXPECT_STREQ(rejection(kernel, call, Isa::avx512_bf16), "");
  OpCall strided = call;
  strided.inputs[0].strides = {20, 1};
  EXPECT_STREQ(rejection(kernel, strided, Isa::avx512_bf16), "needs contiguous rows");
}

}  // namespace

}  // namespace easel::ops::testing
