#include "io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fail.h"

namespace easel::io {

namespace {

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

/// Opens a regular file; size in bytes.
uint64_t open_regular(const std::string& path, Descriptor& descriptor) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  descriptor.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor.fd < 0) fail(ErrorCode::io, "{}: cannot be opened: {}", printable(path, 300), std::strerror(errno));
  struct stat info {};
  if (::fstat(descriptor.fd, &info) != 0)
    fail(ErrorCode::io, "{}: cannot be read: {}", printable(path, 300), std::strerror(errno));
  if (S_ISDIR(info.st_mode)) fail(ErrorCode::io, "{}: expected a file, found a folder", printable(path, 300));
  if (!S_ISREG(info.st_mode))
    fail(ErrorCode::io, "{}: expected a regular file, found a device or pipe", printable(path, 300));
  return static_cast<uint64_t>(info.st_size);
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  Descriptor descriptor;
  const uint64_t size = open_regular(path, descriptor);
  void* data = nullptr;
  if (size > 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.fd, 0);
    if (data == MAP_FAILED)
      fail(ErrorCode::io, "{}: {} bytes cannot be mapped: {}", printable(path, 300), size, std::strerror(errno));
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release(uint64_t begin, uint64_t end) const noexcept {
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  end = std::min<uint64_t>(end, size_);
  begin = (begin + page - 1) / page * page;
  // The page after the last byte of the file belongs to this mapping alone.
  end = end == size_ ? (end + page - 1) / page * page : end / page * page;
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

std::string read_file(const std::string& path, uint64_t max_bytes) {
  Descriptor descriptor;
  const uint64_t size = open_regular(path, descriptor);
  if (size > max_bytes)
    fail(ErrorCode::io, "{}: expected at most {} bytes, found {}", printable(path, 300), max_bytes, size);
  std::string text(size, '\0');
  uint64_t done = 0;
  while (done < size) {
    const ssize_t count = ::read(descriptor.fd, text.data() + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(ErrorCode::io, "{}: cannot be read: {}", printable(path, 300), std::strerror(errno));
    if (count == 0) break;
    done += static_cast<uint64_t>(count);
  }
  text.resize(done);
  return text;
}

}  // namespace easel::io
