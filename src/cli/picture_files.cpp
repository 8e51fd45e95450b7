#include "cli/picture_files.h"

#include <algorithm>
#include <filesystem>

#include "base/fail.h"

namespace easel::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kEndings[] = {".png", ".jpg", ".jpeg", ".webp"};

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

}  // namespace

std::vector<std::string> pictures_in(const std::string& folder, const char* option) {
  std::vector<std::string> out;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string ending = lower(entry.path().extension().string());
    if (std::find(std::begin(kEndings), std::end(kEndings), ending) != std::end(kEndings) && !entry.is_directory())
      out.push_back(entry.path().string());
  }
  if (error) fail(ErrorCode::io, "{} {}: cannot be read: {}", option, printable(folder, 400), error.message());
  if (out.empty())
    fail(ErrorCode::io, "{} {}: expected pictures (.png, .jpg, .webp) in the folder, found none", option,
         printable(folder, 400));
  std::sort(out.begin(), out.end());
  return out;
}

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
    const std::vector<std::string> found = pictures_in(input, "INPUT");
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
