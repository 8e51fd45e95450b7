#include "cli/picture_files.h"

#include <algorithm>
#include <filesystem>

#include "base/fail.h"

namespace easel::cli {

namespace fs = std::filesystem;

namespace {

bool is_picture(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return extension == ".png";
}

}  // namespace

std::vector<std::string> find_pictures(const std::vector<std::string>& inputs) {
  std::vector<std::string> out;
  for (const std::string& input : inputs) {
    std::error_code error;
    const fs::file_status status = fs::status(input, error);
    if (!fs::exists(status))
      fail(ErrorCode::io, "INPUT {}: expected a picture or folder, found nothing", printable(input, 400));
    if (!fs::is_directory(status)) {
      out.push_back(input);
      continue;
    }
    std::vector<std::string> found;
    for (const fs::directory_entry& entry : fs::directory_iterator(input, error))
      if (is_picture(entry.path())) found.push_back(entry.path().string());
    if (found.empty())
      fail(ErrorCode::io, "INPUT {}: expected pictures in the folder, found none", printable(input, 400));
    std::sort(found.begin(), found.end());
    out.insert(out.end(), found.begin(), found.end());
  }
  return out;
}

std::string write_beside(const std::string& folder, const std::string& input, const std::string& suffix,
                         const io::Image& image, const io::PngText& text) {
  const std::string stem = (fs::path(folder) / fs::path(input).stem()).string() + "_" + suffix;
  for (int number = 0;; ++number) {
    const std::string path = number == 0 ? stem + ".png" : fmt::format("{}_{:03}.png", stem, number);
    if (io::write_png_new(path, image, text)) return path;
  }
}

}  // namespace easel::cli
