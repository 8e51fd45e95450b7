#include "pipelines/model_files.h"

#include <filesystem>

#include "base/fail.h"

namespace easel::pipelines {

FileWeights::FileWeights(io::WeightFiles files, NameCandidates candidates)
    : files_(std::move(files)), candidates_(std::move(candidates)) {}

std::string FileWeights::stored_name(const std::string& name) const {
  for (const std::string& candidate : candidates_(name))
    if (files_.find(candidate)) return candidate;
  return {};
}

Tensor FileWeights::load(const std::string& name) const {
  const std::string stored = stored_name(name);
  if (stored.empty()) fail(ErrorCode::io, "{}: tensor '{}' is missing", files_.path(), candidates_(name).front());
  return files_.tensor(stored);
}

void FileWeights::release(const std::string& name) const {
  if (const std::string stored = stored_name(name); !stored.empty()) files_.release_pages(stored);
}

ModelFiles read_model(const std::string& path, bool weights_required) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) fail(ErrorCode::io, "{}: expected a model folder or file, found nothing", printable(path));
  if (fs::is_directory(status)) return read_diffusers_folder(path, weights_required);
  const std::string extension = fs::path(path).extension();
  if (extension == ".safetensors") return read_ldm_checkpoint(path);
  for (const char* later : {".ckpt", ".pt", ".pth", ".bin", ".gguf"})
    if (extension == later)
      fail(ErrorCode::unsupported, "{}: {} files are not read yet; expected .safetensors or a diffusers folder",
           printable(path), later);
  fail(ErrorCode::io, "{}: expected a diffusers folder or a .safetensors file, found '{}'", printable(path),
       printable(extension));
}

}  // namespace easel::pipelines
