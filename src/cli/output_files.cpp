#include "cli/output_files.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "base/fail.h"
#include "io/atomic_file.h"

namespace easel::cli {

namespace fs = std::filesystem;

OutputFolder::OutputFolder(std::string path) : path_(std::move(path)) {
  std::error_code error;
  fs::path existing = fs::absolute(path_, error).lexically_normal();
  const fs::file_status status = fs::status(existing, error);
  if (fs::exists(status) && !fs::is_directory(status))
    fail(ErrorCode::io, "--out-dir {}: expected a folder, found a file", printable(path_, 400));
  while (!fs::exists(existing, error) && existing.has_relative_path()) existing = existing.parent_path();
  if (!fs::is_directory(existing, error))
    fail(ErrorCode::io, "--out-dir {}: {} is not a folder", printable(path_, 400), printable(existing.string(), 400));
  if (::access(existing.c_str(), W_OK | X_OK) != 0)
    fail(ErrorCode::io, "--out-dir {}: expected a folder that can be written to, but {} cannot be",
         printable(path_, 400), printable(existing.string(), 400));
}

void OutputFolder::create() const {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error && !fs::is_directory(path_))
    fail(ErrorCode::io, "--out-dir {}: cannot be made: {}", printable(path_, 400), error.message());
  check_writable("--out-dir", (fs::path(path_) / ".easel-check").string());
}

std::string OutputFolder::write(const std::string& prefix, int64_t steps, const io::Image& image,
                                const io::PngText& text) {
  for (int64_t index = next_index(path_, prefix);; ++index) {
    const std::string path = (fs::path(path_) / fmt::format("{}_{:03}_steps{}.png", prefix, index, steps)).string();
    if (io::write_png_new(path, image, text)) return path;  // else another process took the name just now
  }
}

std::string OutputFolder::write_text(const std::string& prefix, int64_t steps, const std::string& extension,
                                     const std::string& text) {
  for (int64_t index = next_index(path_, prefix);; ++index) {
    io::AtomicFile file(
        (fs::path(path_) / fmt::format("{}_{:03}_steps{}.{}", prefix, index, steps, extension)).string());
    file.write(text);
    if (file.commit_new()) return file.path();
  }
}

int64_t next_index(const std::string& folder, const std::string& prefix) {
  int64_t next = 0;
  std::error_code error;
  const std::string start = prefix + "_";
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(start)) continue;
    int64_t index = 0;
    const auto [end, bad] = std::from_chars(name.data() + start.size(), name.data() + name.size(), index);
    const bool number = bad == std::errc() && end != name.data() + name.size() && *end == '_' && index >= 0;
    if (number && index < int64_t{1} << 60) next = std::max(next, index + 1);
  }
  return next;
}

void check_writable(const std::string& option, const std::string& path) {
  try {
    const io::AtomicFile probe(path);
  } catch (const Error& error) {
    throw Error(error.code(), option + ": " + error.what());
  }
}

}  // namespace easel::cli
