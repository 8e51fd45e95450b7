#include "io/weight_files.h"

#include <algorithm>

#include "base/fail.h"
#include "io/json_file.h"

namespace easel::io {

WeightFiles WeightFiles::open(const std::string& path) {
  WeightFiles weights;
  weights.path_ = path;
  if (!path.ends_with(".json")) {
    weights.files_.push_back(TensorFile::open(path));
    for (const TensorInfo& tensor : weights.files_[0].tensors()) weights.names_.push_back(tensor.name);
    std::sort(weights.names_.begin(), weights.names_.end());
    return weights;
  }

  const std::string where = printable(path, 300);
  const nlohmann::json index = read_json_file(path, 100'000'000);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object())
    fail(ErrorCode::io, "{}: key 'weight_map': expected an object from tensor names to files, found none", where);
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  std::map<std::string, size_t> opened;
  for (const auto& [name, value] : map->items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    if (file.empty() || file.find('/') != std::string::npos || file.find('\0') != std::string::npos)
      fail(ErrorCode::io, "{}: weight_map: '{}': expected the name of a file in the same folder, found {}", where,
           printable(name), printable(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace)));
    const auto [entry, fresh] = opened.emplace(file, weights.files_.size());
    if (fresh) weights.files_.push_back(TensorFile::open(folder + file));
    if (weights.files_[entry->second].absorbed(name)) continue;
    if (!weights.files_[entry->second].find(name))
      fail(ErrorCode::io, "{}: weight_map: expected tensor '{}' in {}, found none of that name there", where,
           printable(name), printable(file));
    weights.holders_.emplace(name, entry->second);
    weights.names_.push_back(name);
  }
  std::sort(weights.names_.begin(), weights.names_.end());
  return weights;
}

const TensorInfo* WeightFiles::find(std::string_view name) const {
  if (holders_.empty()) return files_.empty() ? nullptr : files_[0].find(name);
  const auto found = holders_.find(name);
  return found == holders_.end() ? nullptr : files_[found->second].find(name);
}

const TensorFile& WeightFiles::holder(std::string_view name) const {
  if (!find(name))
    fail(ErrorCode::io, "{}: expected a tensor '{}', found none of that name", printable(path_, 300), printable(name));
  return files_[holders_.empty() ? 0 : holders_.find(name)->second];
}

Tensor WeightFiles::tensor(std::string_view name) const { return holder(name).tensor(name); }
void WeightFiles::release_pages(std::string_view name) const {
  if (find(name)) holder(name).release_pages(name);
}

}  // namespace easel::io
