#include <gtest/gtest.h>

#include <cstdlib>
#include <utility>

#include <easel/error.h>

#include "device/context.h"
#include "device/memory.h"

namespace easel::device {
namespace {

TEST(Features, EnvironmentLowersTheLevel) {
  const char* before = std::getenv("EASEL_MAX_ISA");
  const std::string saved = before ? before : "";
  setenv("EASEL_MAX_ISA", "baseline", 1);
  EXPECT_EQ(usable_isa(), Isa::baseline);
  setenv("EASEL_MAX_ISA", "sse9", 1);
  EXPECT_THROW(usable_isa(), Error);
  unsetenv("EASEL_MAX_ISA");
  EXPECT_EQ(usable_isa(), detect_isa());
  if (before) setenv("EASEL_MAX_ISA", saved.c_str(), 1);
}

TEST(Buffer, IsZeroAndMoves) {
  Buffer a(1 << 20);
  EXPECT_EQ(a.data()[12345], std::byte{0});
  a.data()[0] = std::byte{7};
  const Buffer b = std::move(a);
  EXPECT_EQ(b.data()[0], std::byte{7});
  EXPECT_THROW(Buffer(int64_t{1} << 60), Error);
}

TEST(Memory, ReportsSomethingSane) {
  EXPECT_GT(available_memory(), 1 << 20);
  EXPECT_GT(peak_resident_memory(), 1 << 20);
}

TEST(Context, RefusesNegativeThreads) { EXPECT_THROW(Context(-1), Error); }

}  // namespace
}  // namespace easel::device
