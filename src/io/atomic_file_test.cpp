#include "io/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "io/test_folder.h"

namespace easel::io {
namespace {

TEST(AtomicFile, AppearsWholeOrNotAtAll) {
  TestFolder folder;
  {
    AtomicFile file(folder / "a");
    file.write("half");
    EXPECT_FALSE(std::filesystem::exists(folder / "a"));
  }
  EXPECT_EQ(folder.entries(), 0u);
  AtomicFile file(folder / "a");
  file.write("who");
  file.write("le");
  EXPECT_EQ(file.size(), 5u);
  file.commit();
  EXPECT_EQ(read_all(folder / "a"), "whole");
  AtomicFile again(folder / "a");
  again.write("new");
  again.commit();
  EXPECT_EQ(read_all(folder / "a"), "new");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, CommitNewNeverReplaces) {
  TestFolder folder;
  folder.write("a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("new");
    EXPECT_FALSE(file.commit_new());
  }
  EXPECT_EQ(read_all(folder / "a"), "old");
  EXPECT_EQ(folder.entries(), 1u);

  int winners = 0;
  std::vector<std::thread> threads;
  std::vector<char> won(8, 0);
  for (size_t t = 0; t < won.size(); ++t)
    threads.emplace_back([&, t] {
      AtomicFile file(folder / "b");
      file.write(std::to_string(t));
      won[t] = file.commit_new();
    });
  for (auto& thread : threads) thread.join();
  for (size_t t = 0; t < won.size(); ++t)
    if (won[t]) {
      ++winners;
      EXPECT_EQ(read_all(folder / "b"), std::to_string(t));
    }
  EXPECT_EQ(winners, 1);
  EXPECT_EQ(folder.entries(), 2u);
}

TEST(AtomicFile, RefusesTargetsThatAreNoFiles) {
  TestFolder folder;
  EXPECT_HAS(error_of([&] { AtomicFile(folder.path()); }), "found a folder");
  EXPECT_HAS(error_of([&] { AtomicFile("/dev/null"); }), "found a device");
  EXPECT_HAS(error_of([&] { AtomicFile(folder / "no/such/folder"); }), "cannot be written: No such file");
  folder.write("plain", "x");
  EXPECT_HAS(error_of([&] { AtomicFile(folder / "plain/file"); }), "cannot be written: Not a directory");
  EXPECT_HAS(error_of([&] { AtomicFile(""); }), "expected a file name");
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, AFullDiskLeavesNothing) {
  TestFolder folder;
  // A file size limit stands for the full disk: write() fails in the middle of the data in the same way.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = error_of([&] {
    AtomicFile file(folder / "a");
    file.write(std::string(3000, 'x'));
    file.write(std::string(3000, 'x'));
    file.commit();
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_HAS(message, "/a: cannot be written: File too large");
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(AtomicFile, AKilledProcessLeavesNothing) {
  TestFolder folder;
  const int unnamed = ::open(folder.path().c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (unnamed < 0) GTEST_SKIP() << "the file system has no files without a name";
  ::close(unnamed);
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFile file(folder / "a");
    file.write("half");
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(folder.entries(), 0u);
}

}  // namespace
}  // namespace easel::io
