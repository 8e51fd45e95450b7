#include "pipelines/model_files.h"

#include <filesystem>

#include "base/fail.h"

namespace easel::pipelines {

FileWeights::FileWeights(io::WeightFiles files, NameCandidates candidates)
    : files_(std::move(files)), candidates_(std::move(candidates)) {
  for (const std::string& name : files_.names())
    if (name.ends_with(".scale_weight"))  // without it the weight is another one
      fail(ErrorCode::unsupported, "{}: tensor '{}': weights with a scale beside them (scaled fp8) are not read yet",
           printable(files_.path(), 400), printable(name));
}

std::string FileWeights::stored_name(const std::string& name) const {
  for (const std::string& candidate : candidates_(name))
    if (files_.find(candidate)) return candidate;
  return {};
}

const io::TensorInfo& FileWeights::find(const std::string& name) const {
  const std::vector<std::string> candidates = candidates_(name);
  for (const std::string& candidate : candidates)
    if (const io::TensorInfo* info = files_.find(candidate)) return *info;
  fail(ErrorCode::io, "{}: tensor '{}' is missing", files_.path(), candidates.front());
}

Tensor FileWeights::load(const std::string& name) const { return files_.tensor(find(name).name); }

exec::WeightSource::Outline FileWeights::outline(const std::string& name) const {
  const io::TensorInfo& info = find(name);
  const BlockFormat encoding = info.packed()          ? info.format
                               : info.strides.empty() ? element_format(info.dtype)
                                                      : BlockFormat::none;
  return {info.dtype, info.shape, encoding};
}

Tensor FileWeights::blocks(const std::string& name) const {
  const io::TensorInfo& info = find(name);
  return files_.holder(info.name).stored(info);
}

void FileWeights::release(const std::string& name) const {
  if (const std::string stored = stored_name(name); !stored.empty()) files_.release_pages(stored);
}

ModelFiles read_model(const std::string& path, const ComponentPaths& replaced, bool weights_required) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status))
    fail(ErrorCode::io, "{}: expected a model folder or file, found nothing", printable(path, 400));
  return fs::is_directory(status) ? read_diffusers_folder(path, replaced, weights_required)
                                  : read_single_file(path, replaced);
}

}  // namespace easel::pipelines
