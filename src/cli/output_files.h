// The folder that pictures go to, and their names.
#pragma once

#include <cstdint>
#include <string>

#include "io/png.h"

namespace easel::cli {

/// Numbered files that never replace others: {prefix}_{index:03d}_steps{steps}.png. The index goes on after the highest
/// one in the folder, whatever its extension and number of steps.
class OutputFolder {
 public:
  /// Throws io if `path` is no folder that one can write to, or could not become one. Makes nothing yet.
  explicit OutputFolder(std::string path);

  const std::string& path() const { return path_; }
  /// Makes the folder where it is missing, and a file in it to see that one can. Throws io.
  void create() const;
  /// Writes a picture under the next free name and returns its path. Throws io.
  std::string write(const std::string& prefix, int64_t steps, const io::Image& image, const io::PngText& text);
  /// The same with a text in a file of another extension.
  std::string write_text(const std::string& prefix, int64_t steps, const std::string& extension,
                         const std::string& text);

 private:
  std::string path_;
};

/// One more than the highest number in names like {prefix}_{number}_…; 0 in an empty or missing folder.
int64_t next_index(const std::string& folder, const std::string& prefix);

/// Throws io, beginning with `option`, if a file cannot be made at `path`. Nothing stays behind.
void check_writable(const std::string& option, const std::string& path);

}  // namespace easel::cli
