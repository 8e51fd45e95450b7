#include "cli/model_lookup.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/fail.h"
#include "cli/spelling.h"

namespace easel::cli {

namespace fs = std::filesystem;

namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Single files of models, as they are looked up by name.
constexpr const char* kModelExtensions[] = {".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".bin"};

bool is_model_file(const fs::path& path) {
  for (const char* extension : kModelExtensions)
    if (path.extension() == extension) return true;
  return false;
}

std::string name_of(const fs::path& path) {
  fs::path last = path.lexically_normal();
  if (!last.has_filename()) last = last.parent_path();
  if (last.filename() == "." || last.filename() == "..") last = fs::absolute(last).lexically_normal();
  if (!last.has_filename()) last = last.parent_path();
  return is_model_file(last) ? last.stem().string() : last.filename().string();
}

ModelPath demo_model() {
  const std::string override_path = environment("EASEL_DEMO_MODEL");
  if (!override_path.empty()) return {override_path, "demo"};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path folder = (program.parent_path() / ".." / "share" / "easel" / "demo").lexically_normal();
  if (!is_there(folder / "model_index.json"))
    fail(ErrorCode::io, "the demo model is not installed: expected it in {}; name another with --model",
         printable(folder.string(), 400));
  return {folder.string(), "demo"};
}

std::vector<std::string> models_in(const std::vector<std::string>& folders) {
  std::vector<std::string> names;
  for (const std::string& folder : folders) {
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder, error))
      if (is_model_file(entry.path()) || is_there(entry.path() / "model_index.json"))
        names.push_back(name_of(entry.path()));
  }
  return names;
}

// In the folders, as it is or with an extension.
std::optional<std::string> look_up(const std::string& name, const std::optional<std::string>& model_dir) {
  for (const std::string& folder : model_folders(model_dir)) {
    std::vector<fs::path> candidates = {fs::path(folder) / name};
    for (const char* extension : kModelExtensions) candidates.push_back(fs::path(folder) / (name + extension));
    for (const fs::path& candidate : candidates)
      if (is_there(candidate)) return candidate.string();
  }
  return std::nullopt;
}

[[noreturn]] void fail_lookup(const char* option, const char* kind, const std::string& name,
                              const std::optional<std::string>& model_dir) {
  const std::vector<std::string> folders = model_folders(model_dir);
  const std::string looked = fmt::format("{}", fmt::join(folders, ", "));
  fail(ErrorCode::io, "{} \"{}\": no such folder or file, nor {} of that name in {}{}", option, printable(name, 200),
       kind, looked.empty() ? "any folder" : printable(looked, 400), did_you_mean(name, models_in(folders)));
}

}  // namespace

std::vector<std::string> model_folders(const std::optional<std::string>& model_dir) {
  std::vector<std::string> folders;
  if (model_dir) folders.push_back(*model_dir);
  const std::string list = environment("EASEL_MODELS");
  for (size_t begin = 0; begin < list.size();) {
    const size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) folders.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  std::string data = environment("XDG_DATA_HOME");
  if (data.empty() && !environment("HOME").empty()) data = environment("HOME") + "/.local/share";
  if (!data.empty()) folders.push_back(data + "/easel/models");
  return folders;
}

ModelPath find_model(const std::optional<std::string>& name, const std::optional<std::string>& model_dir) {
  if (model_dir) {
    std::error_code error;
    if (!fs::is_directory(*model_dir, error))
      fail(ErrorCode::io, "--model-dir: expected a folder, found {} \"{}\"",
           is_there(*model_dir) ? "the file" : "nothing at", printable(*model_dir, 400));
  }
  if (!name) return demo_model();
  if (name->empty()) fail(ErrorCode::invalid_argument, "--model: expected a folder, file or name, found \"\"");
  if (is_there(*name)) return {*name, name_of(*name)};
  if (const std::optional<std::string> found = look_up(*name, model_dir)) return {*found, name_of(*found)};
  if (*name == "demo") return demo_model();
  fail_lookup("--model", "a model", *name, model_dir);
}

std::string find_file(const char* option, const std::string& name, const std::optional<std::string>& model_dir) {
  if (name.empty()) fail(ErrorCode::invalid_argument, "{}: expected a folder, file or name, found \"\"", option);
  const std::string path = expand_home(name);
  if (is_there(path)) return path;
  if (const std::optional<std::string> found = look_up(name, model_dir)) return *found;
  fail_lookup(option, "one", name, model_dir);
}

std::string portable_path(const std::string& path) {
  std::error_code error;
  const fs::path whole = fs::absolute(path, error).lexically_normal();
  std::string out = error ? path : whole.string();
  while (out.size() > 1 && out.ends_with('/')) out.pop_back();
  const std::string home = environment("HOME");
  if (home.size() > 1 && out.starts_with(home + "/")) out = "~" + out.substr(home.size());
  return out;
}

std::string expand_home(const std::string& path) {
  return path.starts_with("~/") ? environment("HOME") + path.substr(1) : path;
}

}  // namespace easel::cli
