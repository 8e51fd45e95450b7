// A whole file as read-only memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace easel::io {

/// Maps a regular file. Pages are read when first touched and may be given back with release().
/// A file that another program shortens while it is mapped ends the process with SIGBUS: not handled.
class MappedFile {
 public:
  /// Throws io if the path is missing, unreadable, a folder or anything else that is no regular file.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// Drops the whole pages inside bytes begin … end-1 from memory; touching them reads the file again.
  void release(uint64_t begin, uint64_t end) const noexcept;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}
  std::string path_;
  const std::byte* data_;
  size_t size_;
};

/// The contents of a regular file of at most `max_bytes`. Throws io.
std::string read_file(const std::string& path, uint64_t max_bytes);

}  // namespace easel::io
