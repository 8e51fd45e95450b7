// The entries of a zip archive that is used as a container of memory-mapped data: stored, never compressed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace easel::io {

struct ZipEntry {
  uint64_t begin = 0, size = 0;  ///< of the data, from the start of the archive, in bytes
};

/// The entries of an archive by name. Zip64 is read. Throws io, naming `where`, for anything inconsistent: a directory
/// that does not fit the file, entries that are compressed (nothing is ever unpacked, so no archive grows), encrypted,
/// overlapping or outside the file, two of one name, names with "..", a root, backslashes or control characters, and
/// more than 100 000 entries. Checksums are not compared: that would read everything.
/// APPNOTE.TXT 6.3.10, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
std::map<std::string, ZipEntry> read_zip_directory(std::span<const std::byte> bytes, std::string_view where);

}  // namespace easel::io
