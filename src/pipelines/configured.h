// Components that come with a config.json.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fail.h"
#include "io/json_file.h"
#include "pipelines/families.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

/// A folder of a component, or a file with its config.json beside it, as diffusers saves them; nothing for a file
/// without one, or where that is of another class than own_classes. Throws io, and what `parse` throws.
template <typename Config>
std::optional<ComponentFiles<Config>> read_configured(const std::string& path,
                                                      const std::vector<std::string>& own_classes,
                                                      Config (*parse)(const io::JsonObject&),
                                                      const std::vector<std::string>& stems,
                                                      const NameCandidates& names, bool weights_required) {
  std::error_code error;
  const bool folder = std::filesystem::is_directory(path, error);
  const std::filesystem::path config =
      (folder ? std::filesystem::path(path) : std::filesystem::path(path).parent_path()) / "config.json";
  if (!folder && !std::filesystem::exists(config, error)) return std::nullopt;
  if (folder && !std::filesystem::exists(config, error))
    fail(ErrorCode::io, "{}: expected the folder of one part, with its config.json, found {}", printable(path, 400),
         describe_folder(path));
  const io::JsonObject json = io::JsonObject::from_file(config.string());
  if (!folder) {  // the configuration may be of something else that lies in the same folder
    std::vector<std::string> found;
    if (json.is_string("_class_name")) found = {json.string("_class_name")};
    if (json.is_array("architectures")) found = json.strings("architectures");
    const auto own = [&](const std::string& name) { return std::ranges::count(own_classes, name) > 0; };
    if (std::ranges::none_of(found, own)) return std::nullopt;
  }
  std::optional<io::WeightFiles> files =
      folder ? open_weights(path, stems, weights_required) : io::WeightFiles::open(path);
  return ComponentFiles<Config>{parse(json),
                                files ? std::make_shared<const FileWeights>(*std::move(files), names) : nullptr, true};
}

}  // namespace easel::pipelines
