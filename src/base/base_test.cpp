#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/fail.h"
#include "base/thread_pool.h"

namespace easel {
namespace {

TEST(Error, CarriesCodeAndFormattedMessage) {
  try {
    fail(ErrorCode::io, "{}: expected {} bytes, found {}", "f.bin", 4, 2);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::io);
    EXPECT_STREQ(error.what(), "f.bin: expected 4 bytes, found 2");
  }
  EXPECT_EQ(exit_status(ErrorCode::invalid_argument), 2);
  EXPECT_EQ(exit_status(ErrorCode::io), 1);
}

TEST(Error, PrintableKeepsOneLine) {
  EXPECT_EQ(printable("a\nb\x1b"), "a\\x0ab\\x1b");
  EXPECT_EQ(printable("größe ² 画"), "größe ² 画");
  EXPECT_EQ(printable("\xff\xfe|\xc3|\xe7\x94"), "\\xff\\xfe|\\xc3|\\xe7\\x94");
  EXPECT_EQ(printable("\xc0\x80 \xed\xa0\x80 \xf5"), "\\xc0\\x80 \\xed\\xa0\\x80 \\xf5");  // overlong, surrogate
  EXPECT_EQ(printable("\u009b|\u202e|\u2028"), "\\xc2\\x9b|\\xe2\\x80\\xae|\\xe2\\x80\\xa8");
  EXPECT_EQ(printable("ääää", 3), "ää…");
  EXPECT_LE(printable(std::string(1000, 'x'), 10).size(), 14u);
}

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int64_t count : {0, 1, 2, 3, 100}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      pool.parallel_for(count, [&](int64_t task, int thread) {
        ASSERT_LT(thread, threads);
        ++hits[static_cast<size_t>(task)];
      });
      for (auto& hit : hits) EXPECT_EQ(hit.load(), 1);
    }
  }
}

TEST(ThreadPool, ServesSeveralCallers) {
  ThreadPool pool(2);
  std::atomic<int> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) pool.parallel_for(3, [&](int64_t, int) { ++sum; });
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(sum.load(), 4 * 200 * 3);
}

}  // namespace
}  // namespace easel
