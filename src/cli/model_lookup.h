// From the name of a model to the folder or file that holds it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace easel::cli {

struct ModelPath {
  std::string path;  ///< a diffusers folder or a single file
  std::string name;  ///< short: "demo", or the last part of the path without extension
};

/// `name`: a path that exists, else a name looked up in `model_dir`, each folder of $EASEL_MODELS and the user's data
/// folder, as it is or with an extension of model files; nothing: the demo model. Throws io where nothing is found,
/// naming where it was looked for.
ModelPath find_model(const std::optional<std::string>& name, const std::optional<std::string>& model_dir);

/// The file or folder of something that goes with a model, looked up likewise. Throws io, beginning with `option`.
std::string find_file(const char* option, const std::string& name, const std::optional<std::string>& model_dir);

/// The folders in which names are looked up, first to last.
std::vector<std::string> model_folders(const std::optional<std::string>& model_dir);

/// An absolute path with the user's home folder as "~", so that a shared picture does not tell the user's name.
std::string portable_path(const std::string& path);
std::string expand_home(const std::string& path);

}  // namespace easel::cli
