// Files that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace easel::io {

/// Writes under a temporary name in the target's folder; commit() flushes to disk and renames.
/// Without a commit the destructor removes the temporary file, so a failure leaves nothing behind.
/// A process that is killed outright can leave a hidden `.easel-….part` file.
class AtomicFile {
 public:
  /// Throws io if the folder is missing or not writable, or if `path` is a folder, a device or a pipe.
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& path() const noexcept { return path_; }
  /// Bytes written so far.
  uint64_t size() const noexcept { return size_; }
  /// Throws io, for example when the disk is full.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Replaces what is at `path`. Throws io.
  void commit();
  /// As commit(), but never replaces anything: false, and nothing written, if `path` exists already.
  /// The check and the renaming are one step, so two processes never take the same name.
  bool commit_new();

 private:
  void flush();
  void committed() noexcept;
  [[noreturn]] void fail_write(int error) const;

  std::string path_, temporary_, folder_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace easel::io
