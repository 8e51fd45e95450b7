#include "io/zip_archive.h"

#include <algorithm>
#include <vector>

#include "base/fail.h"
#include "io/byte_cursor.h"

namespace easel::io {

namespace {

constexpr uint32_t kLocalHeader = 0x04034b50, kDirectoryEntry = 0x02014b50, kEndRecord = 0x06054b50,
                   kZip64EndRecord = 0x06064b50, kZip64Locator = 0x07064b50;
constexpr uint64_t kLocalSize = 30, kDirectorySize = 46, kEndSize = 22, kZip64EndSize = 56, kLocatorSize = 20;
constexpr uint64_t kMaxEntries = 100'000;
constexpr uint32_t kIn64 = 0xffffffff;  // the value is in the zip64 field

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes), where_(printable(where, 300)) {}

  std::map<std::string, ZipEntry> entries() {
    find_directory();
    std::map<std::string, ZipEntry> out;
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    uint64_t at = directory_;
    for (uint64_t i = 0; i < count_; ++i) {
      if (directory_end_ - at < kDirectorySize || number(at, 4) != kDirectoryEntry)
        refuse("entry {}: expected an entry of the directory, found something else", i);
      const uint64_t name_size = number(at + 28, 2), extra_size = number(at + 30, 2), note_size = number(at + 32, 2);
      if (directory_end_ - at - kDirectorySize < name_size + extra_size + note_size)
        refuse("entry {}: its name and fields reach beyond the directory", i);
      const std::string name(text(at + kDirectorySize, name_size));
      check_name(name);
      const ZipEntry entry = read_entry(at, name, extra_size);
      if (!name.ends_with('/')) {
        if (!out.emplace(name, entry).second) refuse("entry '{}' occurs twice", printable(name));
        ranges.emplace_back(local_begin_, entry.begin + entry.size);
      }
      at += kDirectorySize + name_size + extra_size + note_size;
    }
    if (at != directory_end_) refuse("expected the directory to end at byte {}, found {}", directory_end_, at);
    std::sort(ranges.begin(), ranges.end());
    for (size_t i = 1; i < ranges.size(); ++i)
      if (ranges[i].first < ranges[i - 1].second) refuse("entries overlap at byte {}", ranges[i].first);
    return out;
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::io, "{}: zip archive: {}", where_, fmt::format(format, std::forward<Args>(args)...));
  }

  uint64_t number(uint64_t at, unsigned size) const { return number_at(bytes_, at, size); }
  std::string_view text(uint64_t at, uint64_t size) const { return text_at(bytes_, at, size); }

  // The end record is the last thing in the file, except for a comment of at most 65535 bytes.
  void find_directory() {
    const uint64_t file = bytes_.size();
    if (file < kEndSize) refuse("expected at least {} bytes, found {}", kEndSize, file);
    const uint64_t lowest = file - std::min<uint64_t>(file, kEndSize + 0xffff);
    uint64_t end = file - kEndSize;
    while (number(end, 4) != kEndRecord || end + kEndSize + number(end + 20, 2) != file) {
      if (end == lowest) refuse("the directory at its end is missing (truncated?)");
      --end;
    }
    uint64_t disk = number(end + 4, 2), size = number(end + 12, 4);
    count_ = number(end + 10, 2);
    directory_ = number(end + 16, 4);
    uint64_t records = end;
    if (end >= kLocatorSize && number(end - kLocatorSize, 4) == kZip64Locator) {
      const uint64_t wide = number(end - kLocatorSize + 8, 8);
      if (wide > end - kLocatorSize || end - kLocatorSize - wide < kZip64EndSize || number(wide, 4) != kZip64EndRecord)
        refuse("its zip64 record is not where it should be");
      disk = number(wide + 16, 4);
      count_ = number(wide + 32, 8);
      size = number(wide + 40, 8);
      directory_ = number(wide + 48, 8);
      records = wide;
    }
    if (disk != 0) refuse("expected a single file, found one part of several");
    if (count_ > kMaxEntries) refuse("expected at most {} entries, found {}", kMaxEntries, count_);
    if (directory_ > records || size != records - directory_)
      refuse("expected a directory of {} bytes before byte {}, found it at byte {}", size, records, directory_);
    directory_end_ = records;
  }

  void check_name(const std::string& name) const {
    const bool dots =
        name == ".." || name.starts_with("../") || name.ends_with("/..") || name.find("/../") != std::string::npos;
    const bool clean = std::none_of(name.begin(), name.end(), [](char c) {
      return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\';
    });
    if (name.empty() || dots || !clean || name.front() == '/')
      refuse("entry '{}': expected a relative name without '..', backslashes or control characters", printable(name));
  }

  ZipEntry read_entry(uint64_t at, const std::string& name, uint64_t extra_size) {
    const std::string shown = printable(name);
    const uint64_t flags = number(at + 8, 2), method = number(at + 10, 2);
    uint64_t stored = number(at + 20, 4), size = number(at + 24, 4), local = number(at + 42, 4);
    if (flags & 1) refuse("entry '{}' is encrypted", shown);
    if (method != 0)
      refuse("entry '{}': expected stored data, found compressed data (method {}); nothing was unpacked", shown,
             method);
    read_zip64(at + kDirectorySize + name.size(), extra_size, shown, size, stored, local);
    if (stored != size) refuse("entry '{}': stored in {} bytes, but {} bytes long", shown, stored, size);
    if (local > directory_ || directory_ - local < kLocalSize || number(local, 4) != kLocalHeader)
      refuse("entry '{}': expected its header at byte {}, found none there", shown, local);
    const uint64_t local_name = number(local + 26, 2), local_extra = number(local + 28, 2);
    if (directory_ - local - kLocalSize < local_name + local_extra ||
        text(local + kLocalSize, local_name) != std::string_view(name) || number(local + 8, 2) != method)
      refuse("entry '{}': its own header says something else than the directory", shown);
    ZipEntry entry{local + kLocalSize + local_name + local_extra, size};
    if (entry.size > directory_ - entry.begin)
      refuse("entry '{}': expected {} bytes of data, found {} before the directory", shown, entry.size,
             directory_ - entry.begin);
    local_begin_ = local;
    return entry;
  }

  // The 64-bit values of those that did not fit, in this order.
  void read_zip64(uint64_t at, uint64_t extra_size, const std::string& shown, uint64_t& size, uint64_t& stored,
                  uint64_t& local) const {
    const uint64_t end = at + extra_size;
    while (end - at >= 4) {
      const uint64_t id = number(at, 2), length = number(at + 2, 2);
      if (end - at - 4 < length) refuse("entry '{}': its extra fields reach beyond their end", shown);
      uint64_t field = at + 4;
      at += 4 + length;
      if (id != 1) continue;
      for (uint64_t* value : {&size, &stored, &local}) {
        if (*value != kIn64) continue;
        if (at - field < 8) refuse("entry '{}': its zip64 field is too short", shown);
        *value = number(field, 8);
        field += 8;
      }
      return;
    }
  }

  std::span<const std::byte> bytes_;
  std::string where_;
  uint64_t directory_ = 0, directory_end_ = 0, count_ = 0, local_begin_ = 0;
};

}  // namespace

std::map<std::string, ZipEntry> read_zip_directory(std::span<const std::byte> bytes, std::string_view where) {
  return Reader(bytes, where).entries();
}

}  // namespace easel::io
