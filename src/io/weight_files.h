// The tensors of one component or model, from one file or several.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_file.h"

namespace easel::io {

/// The tensors of a model, from one file of any container or from the shards that a `….index.json` lists:
/// {"weight_map": {tensor name: file name in the same folder}}.
class WeightFiles {
 public:
  /// Throws io, also when the index and the shards disagree.
  static WeightFiles open(const std::string& path);

  /// The path it was opened with.
  const std::string& path() const noexcept { return path_; }
  /// Sorted by name.
  const std::vector<std::string>& names() const noexcept { return names_; }
  const std::vector<TensorFile>& files() const noexcept { return files_; }
  const TensorInfo* find(std::string_view name) const;
  /// As TensorFile::tensor and release_pages.
  Tensor tensor(std::string_view name) const;
  void release_pages(std::string_view name) const;
  /// The file that holds the tensor. Throws io if there is none.
  const TensorFile& holder(std::string_view name) const;
  /// Its path.
  const std::string& file_of(std::string_view name) const { return holder(name).path(); }

 private:
  std::string path_;
  std::vector<TensorFile> files_;
  std::vector<std::string> names_;
  std::map<std::string, size_t, std::less<>> holders_;  // only where there is an index
};

}  // namespace easel::io
