#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>

#include "base/fail.h"

namespace easel::io {

namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// A short name of its own: the target's name may already be as long as the file system allows.
std::string temporary_name(const std::string& folder) {
  std::random_device random;
  return fmt::format("{}/.easel-{:08x}{:08x}.part", folder, random(), random());
}

void sync_folder(const std::string& folder) noexcept {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);  // not every file system can; the file itself is safe already
  ::close(fd);
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), folder_(folder_of(path_)) {
  struct stat info {};
  if (path_.empty() || path_.find('\0') != std::string::npos)
    fail(ErrorCode::io, "'{}': expected a file name", printable(path_, 300));
  if (::stat(path_.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) fail(ErrorCode::io, "{}: expected a file, found a folder", printable(path_, 300));
    if (!S_ISREG(info.st_mode))
      fail(ErrorCode::io, "{}: expected a regular file, found a device or pipe", printable(path_, 300));
  }
  // A name comes to it through /proc alone.
  if (::access("/proc/self/fd", X_OK) == 0) fd_ = ::open(folder_.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (fd_ < 0) open_named();
}

void AtomicFile::open_named() {
  for (int attempt = 0; attempt < 100; ++attempt) {
    temporary_ = temporary_name(folder_);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ >= 0 || errno != EEXIST) break;
  }
  if (fd_ < 0) {
    temporary_.clear();
    fail_write(errno);
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::fail_write(int error) const {
  fail(ErrorCode::io, "{}: cannot be written: {}", printable(path_, 300), std::strerror(error));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (fd_ < 0) fail(ErrorCode::internal, "{}: written after it was committed", printable(path_, 300));
  size_ += bytes.size();
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd_, bytes.data(), std::min<size_t>(bytes.size(), size_t{1} << 30));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_write(errno);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
}

void AtomicFile::sync() const {
  if (fd_ < 0) fail(ErrorCode::internal, "{}: committed twice", printable(path_, 300));
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) fail_write(errno);
}

void AtomicFile::close() {
  const int fd = fd_;
  fd_ = -1;
  if (::close(fd) != 0 && errno != EINTR) fail_write(errno);
}

// 0, or why not. Never replaces anything.
int AtomicFile::link_as(const std::string& name) const noexcept {
  const std::string self = "/proc/self/fd/" + std::to_string(fd_);
  return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

void AtomicFile::take_temporary_name() {
  if (!temporary_.empty()) return;
  int error = EEXIST;
  std::string name;
  for (int attempt = 0; attempt < 100 && error == EEXIST; ++attempt) {
    name = temporary_name(folder_);
    error = link_as(name);
  }
  if (error != 0) fail_write(error);
  temporary_ = name;
}

void AtomicFile::committed() noexcept {
  temporary_.clear();
  sync_folder(folder_);
}

void AtomicFile::commit() {
  sync();
  take_temporary_name();  // only renaming replaces what is there
  close();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_write(errno);
  committed();
}

bool AtomicFile::commit_new() {
  sync();
  if (temporary_.empty()) {
    const int error = link_as(path_);
    if (error == EEXIST) return false;
    if (error == 0) {
      close();
      sync_folder(folder_);
      return true;
    }
    take_temporary_name();
  }
  close();
  if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) == 0) {
    committed();
    return true;
  }
  if (errno == EEXIST) return false;
  if (errno != EINVAL && errno != ENOSYS) fail_write(errno);
  // File systems without it: a hard link is exclusive too; the destructor removes the other name.
  if (::link(temporary_.c_str(), path_.c_str()) == 0) {
    sync_folder(folder_);
    return true;
  }
  if (errno == EEXIST) return false;
  // Nor links: take the name with an empty file, then replace that file, which is ours.
  const int fd = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0 && errno == EEXIST) return false;
  if (fd < 0) fail_write(errno);
  ::close(fd);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(path_.c_str());
    fail_write(error);
  }
  committed();
  return true;
}

}  // namespace easel::io
