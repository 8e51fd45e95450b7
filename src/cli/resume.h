// Going on after an interruption: which pictures of a job its folder holds already.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/picture_metadata.h"

namespace easel::cli {

/// The pictures of a folder by what their files say about how they were made. Files appear whole or not at all, so that
/// what is there is done.
class FinishedPictures {
 public:
  /// Reads the texts of img_*.png in `folder`; what cannot be read is another's. with_size: width and height count.
  FinishedPictures(const std::string& folder, bool with_size);

  /// The file of a picture that was made so; each is given once, so that a prompt that comes twice is drawn twice.
  std::optional<std::string> take(const PictureMetadata& picture);
  /// The seed of one that differs from `picture` in its seed alone: what a run drew at random that now goes on.
  std::optional<uint64_t> seed_of(const PictureMetadata& picture) const;

 private:
  std::string key(PictureMetadata picture, bool with_seed) const;

  bool with_size_;
  std::map<std::string, std::vector<std::string>> files_;  // the last is given first
  std::map<std::string, uint64_t> seeds_;
};

}  // namespace easel::cli
