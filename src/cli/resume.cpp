#include "cli/resume.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "io/mapped_file.h"

namespace easel::cli {

namespace fs = std::filesystem;

FinishedPictures::FinishedPictures(const std::string& folder, bool with_size) : with_size_(with_size) {
  std::error_code error;
  std::vector<std::string> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("img_") && name.ends_with(".png")) paths.push_back(entry.path().string());
  }
  std::sort(paths.rbegin(), paths.rend());
  for (const std::string& path : paths) {
    PictureMetadata picture;
    try {
      picture = from_png_text(io::decode_png_head(io::MappedFile::open(path)->bytes(), path).text, path);
    } catch (const Error&) {
      continue;
    }
    files_[key(picture, true)].push_back(path);
    if (picture.seed) seeds_[key(picture, false)] = *picture.seed;
  }
}

std::string FinishedPictures::key(PictureMetadata picture, bool with_seed) const {
  if (!with_seed) picture.seed.reset();
  if (!with_size_) {
    picture.width.reset();
    picture.height.reset();
  }
  // The chunk easel without what says when and by whom.
  auto json = nlohmann::ordered_json::parse(to_png_text(picture).back().second);
  json.erase("version");
  return json.dump();
}

std::optional<std::string> FinishedPictures::take(const PictureMetadata& picture) {
  const auto found = files_.find(key(picture, true));
  if (found == files_.end() || found->second.empty()) return std::nullopt;
  std::string path = std::move(found->second.back());
  found->second.pop_back();
  return path;
}

std::optional<uint64_t> FinishedPictures::seed_of(const PictureMetadata& picture) const {
  const auto found = seeds_.find(key(picture, false));
  return found == seeds_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace easel::cli
