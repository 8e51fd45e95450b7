// Files that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace easel::io {

/// Writes a file without a name in the target's folder; commit() flushes to disk and gives it its name. Without a
/// commit nothing is left behind, whatever ends the process. File systems that know no such files get one with a
/// temporary name, which the destructor removes; a process that is killed outright leaves it there, as `.easel-….part`.
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
  void open_named();
  void sync() const;
  void close();
  int link_as(const std::string& name) const noexcept;
  void take_temporary_name();
  void committed() noexcept;
  [[noreturn]] void fail_write(int error) const;

  std::string path_, temporary_, folder_;  // temporary_ empty: no name yet
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace easel::io
